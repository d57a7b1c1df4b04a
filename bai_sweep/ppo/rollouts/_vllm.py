"""Rollouts by vLLM, through TRL: a server of its own, or colocated in this process."""

from __future__ import annotations

import atexit
import logging
import os
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar, final

import requests
import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bai_sweep.config import VLLMSettings
from bai_sweep.generation import Samples
from bai_sweep.ppo.rollouts._vllm_answer import WrongAnswerError, reason, row_seeds, samples_of
from bai_sweep.ppo.rollouts._watched import WatchedThread
from bai_sweep.records import UserError

if TYPE_CHECKING:
    from peft import PeftModel

    from bai_sweep.ppo.rollouts._vllm_client import Client, Generation

log = logging.getLogger(__name__)
T = TypeVar("T")

START_SERVER = (
    'VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --weight-transfer-config \'{"backend": "nccl"}\' '
    "--logprobs-mode processed_logprobs"
)
GRACE_SECONDS = 1.0
"""How long after the time limit a request that ran into it may say so itself, and to the other processes."""
RENDEZVOUS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What a colocated vLLM needs in the environment; TRL puts it there and leaves it."""


@final
class VLLMEngine:
    """The actor's completions from vLLM.

    In a distributed run every process makes one and calls its methods together with the others. All calls to vLLM
    are made on one thread of the engine's own; what takes longer than `settings.timeout` becomes an error, in every
    phase: connect, synchronise, generate.

    Each row has a seed made of its first uniform number. vLLM promises equal samples for equal seeds only if it also
    computes the same logits, which depend on how it batches: set VLLM_BATCH_INVARIANT=1 for that.

    Args:
        actor: The model whose weights are sent, a PEFT model too (adapters are sent merged).
        tokenizer: The actor's.
        accelerator: Says which process and device this is.
        settings: Where vLLM is.
        max_new_tokens: Longest completion.
        temperature: Of sampling.
        eos_token_ids: Tokens that end a row; a server's own choice of them is not asked.

    Raises:
        UserError: vLLM is not installed or not usable here; the server is not there, lacks a setting, or does not
            take part in the weight transfer within the time limit.
    """

    def __init__(
        self,
        actor: PreTrainedModel | PeftModel,
        tokenizer: PreTrainedTokenizerBase,
        accelerator: Accelerator,
        settings: VLLMSettings,
        *,
        max_new_tokens: int,
        temperature: float,
        eos_token_ids: Sequence[int],
    ) -> None:
        _check(actor, accelerator, settings)
        self.actor, self.accelerator, self.settings = actor, accelerator, settings
        self.max_new_tokens, self.temperature = max_new_tokens, temperature
        self.eos_token_ids = tuple(eos_token_ids)
        self._failure: str | None = None
        self._closed = False
        self._environment = {name: os.environ.get(name) for name in RENDEZVOUS}
        self._thread = WatchedThread("vllm")
        self._adapter = _client_module().DeadlineAdapter()
        # Loading a model into a colocated vLLM and compiling it is local work of minutes, not an answer awaited.
        limit = settings.timeout if settings.mode == "server" else None
        try:
            self._generation = self._within("connect", lambda: self._start(tokenizer), limit)
        except BaseException:
            self._restore_environment()
            raise

    def sync(self) -> None:
        """Sends the actor's weights.

        Raises:
            UserError: The server failed, or did not take them within the time limit.
        """
        self._within("sync", self._generation.sync_weights, self.settings.timeout)

    def generate(self, prompts: Sequence[Sequence[int]], uniform: Float[Tensor, "tokens rows"]) -> Samples:
        """One completion a prompt, sampled until EOS or `max_new_tokens`.

        Args:
            prompts: Token ids, of this process; every process has the same number of them.
            uniform: Random numbers; the first of each row makes the row's seed.

        Raises:
            UserError: The server failed, gave something else than asked, or did not answer within the time limit.
        """
        rows = [list(map(int, prompt)) for prompt in prompts]
        seeds = row_seeds(uniform)
        answer = self._within("generate", lambda: self._generation.generate_seeded(rows, seeds), self.settings.timeout)
        try:
            samples = samples_of(rows, *answer, max_new_tokens=self.max_new_tokens, eos_token_ids=self.eos_token_ids)
        except WrongAnswerError as error:
            raise UserError(
                f"{self._who}: generate gave {error}; is it vLLM, and of a version that TRL supports?"
            ) from None
        device = self.actor.device
        return Samples(
            samples.tokens.to(device),
            samples.logprobs.to(device),
            samples.lengths.to(device),
            samples.ended.to(device),
        )

    def close(self) -> None:
        """Leaves the server, or lets the colocated vLLM go; the engine cannot be used again."""
        if self._closed:
            return
        self._closed = True
        client: Client | None = getattr(self._generation, "vllm_client", None)
        if client is not None:
            client.close_communicator()  # type: ignore[no-untyped-call]
            atexit.unregister(client.close_communicator)  # TRL's; it would keep the client until the process ends
            client.session.close()
        self._generation.llm = None
        self._thread.close()
        self._failure = self._failure or (
            f"{self._who}: vLLM was left at the end of the training; to train on, make a new PPOTrainer and pass "
            "resume_from_checkpoint=True"
        )
        self._restore_environment()

    def _restore_environment(self) -> None:
        """Left behind, these variables make the next Accelerator of this process look for other processes."""
        for name, value in self._environment.items():
            if value is None:
                os.environ.pop(name, None)

    @property
    def _who(self) -> str:
        return f"vLLM server {self.settings.url}" if self.settings.mode == "server" else "colocated vLLM"

    def _start(self, tokenizer: PreTrainedTokenizerBase) -> Generation:
        device = self.accelerator.device
        if device.type == "cuda" and device.index is not None:
            torch.cuda.set_device(device)  # a thread starts with device 0
        generation: Generation = _client_module().Generation(
            self.actor,
            self.accelerator,
            tokenizer,
            connect=self._connect,
            mode=self.settings.mode,
            tensor_parallel_size=self.settings.tensor_parallel_size,
            gpu_memory_utilization=self.settings.gpu_memory_utilization,
            max_model_length=self.settings.max_model_length,
            temperature=self.temperature,
            max_completion_length=self.max_new_tokens,
            logprobs=0,
            # ignore_eos: vLLM would also stop at the tokens of the model folder's generation_config.json
            generation_kwargs={"stop_token_ids": list(self.eos_token_ids), "ignore_eos": True, "seed": 0},
        )
        return generation

    def _connect(self) -> Client:
        settings = self.settings
        make: type[Client] = _client_module().Client
        client = make(settings.url.rstrip("/"), settings.group_port, self._adapter, self._thread.give_up)
        mode = (client.get_server_info().get("model_config") or {}).get("logprobs_mode", "processed_logprobs")
        if self.temperature != 1.0 and mode != "processed_logprobs":
            raise UserError(
                f"{self._who} gives log-probabilities from before the temperature (--logprobs-mode {mode}), and "
                f"rl.temperature is {self.temperature:g}; start it with --logprobs-mode processed_logprobs"
            )
        return client

    def _within(self, phase: str, work: Callable[[], T], limit: float | None) -> T:
        """Runs a phase on the engine's thread; every failure of a server is one UserError, and the last call."""
        if self._failure is not None:
            raise UserError(self._failure)
        if limit is not None:
            self._adapter.deadline = time.monotonic() + limit
        try:
            return self._thread.call(work, None if limit is None else self._patience(limit))
        except UserError as error:
            self._failure = str(error)
        except (TimeoutError, requests.Timeout) as error:
            self._failure = self._too_long(phase, limit, error)
        except Exception as error:
            if self.settings.mode == "colocate":
                raise
            log.debug("%s: %s", self._who, phase, exc_info=True)
            self._failure = f"{self._who}: {phase} failed: {reason(error)}{_ADVICE[phase]}"
        self._thread.close()
        raise UserError(self._failure)

    def _patience(self, limit: float) -> float:
        """How long this process waits: the first for the server; the others for the first, which may be later."""
        waits_for_the_first = self.settings.mode == "server" and not self.accelerator.is_main_process
        return limit * (2 if waits_for_the_first else 1) + GRACE_SECONDS

    def _too_long(self, phase: str, limit: float | None, error: Exception) -> str:
        detail = f" ({error})" if phase == "connect" and str(error) else ""
        return (
            f"{self._who}: {phase} did not end within {limit or 0:g} s{detail}; if it needs longer, raise "
            f"rl.vllm.timeout{_ADVICE[phase] if self.settings.mode == 'server' else ''}"
        )


_ADVICE = {
    "connect": f"; a server is started with {START_SERVER}",
    "sync": "; restart the server before the next run: it may be left in the middle of an update",
    "generate": "; its own log says why",
}


def _check(actor: PreTrainedModel | PeftModel, accelerator: Accelerator, settings: VLLMSettings) -> None:
    """What can be known before anything is started."""
    if not _client_module().is_vllm_available():
        raise UserError(
            "rl.engine=vllm needs the package vllm, which is not installed; "
            "run pip install 'bai-sweep[vllm]', or set rl.engine=hf"
        )
    if accelerator.device.type != "cuda":
        raise UserError(
            f"rl.engine=vllm needs a CUDA device (vLLM receives weights over NCCL), and this process has "
            f"{accelerator.device.type}; set rl.engine=hf"
        )
    if settings.mode == "colocate" and accelerator.num_processes % settings.tensor_parallel_size:
        raise UserError(
            f"rl.vllm.tensor_parallel_size must divide the number of processes ({accelerator.num_processes}), "
            f"got {settings.tensor_parallel_size}"
        )
    if settings.mode == "colocate" and not actor.name_or_path:
        raise UserError(
            "rl.vllm.mode=colocate starts vLLM from the folder or the hub name that the actor was loaded from, and "
            "this actor was made in memory; load it with from_pretrained, or set rl.vllm.mode=server"
        )


def _client_module() -> ModuleType:
    """Imports TRL's vLLM parts, and with them vLLM, only now."""
    try:
        from bai_sweep.ppo.rollouts import _vllm_client
    except (ImportError, OSError) as error:  # OSError: a CUDA library that does not load
        raise UserError(
            f"rl.engine=vllm: vLLM cannot be imported ({error}); "
            "run pip install 'bai-sweep[vllm]', or set rl.engine=hf"
        ) from error
    return _vllm_client
