"""TRL's vLLM generation with what it lacks: a time limit, a seed a row, and LoRA merged without wearing the base.

Imports vLLM where it is installed, which takes seconds: import this module only to use it.

TRL 1.16's client sends every request without a timeout and up to six times (huggingface/trl#6973), gives all rows of
a batch one seed, and merges and unmerges LoRA in place at every synchronisation, which in bf16 changes the base
weights a little each time (huggingface/trl#6688).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast, final

import requests
import torch
from accelerate.utils import broadcast_object_list, is_peft_model  # type: ignore[import-untyped]
from requests.adapters import HTTPAdapter
from torch import Tensor, nn
from trl.generation.vllm_client import VLLMClient
from trl.generation.vllm_generation import VLLMGeneration
from trl.import_utils import is_vllm_available

from bai_sweep.ppo.networks import check_untied
from bai_sweep.ppo.rollouts._vllm_answer import reason
from bai_sweep.records import UserError

if TYPE_CHECKING:
    from peft import PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer

__all__ = ["Client", "Generation", "is_vllm_available"]

CONCURRENT_REQUESTS = 256
"""Rows at the server at a time: what vLLM batches by default on the smaller of its GPUs."""
POLL_SECONDS = 0.5
BESIDE_A_TRANSFER = ("/init_weight_transfer_engine", "/update_weights")
"""Requests that TRL makes beside its part in a transfer, which waits for the server's part even after a refusal."""


@final
class DeadlineAdapter(HTTPAdapter):
    """Gives a request the time that is left until `deadline` (of time.monotonic), and sends it once.

    A request that the server may have seen is not sent again: a second weight update would wait for weights that
    nobody sends. Connections are not kept: vLLM closes idle ones after 5 s, and a request on one that is just being
    closed is lost.
    """

    def __init__(self) -> None:
        super().__init__(max_retries=0, pool_maxsize=CONCURRENT_REQUESTS)
        self.deadline = math.inf

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Sends it; `timeout` is overruled."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise requests.Timeout("no time was left for this request", request=request)
        request.headers["Connection"] = "close"
        return super().send(request, *args, **{**kwargs, "timeout": left})


@final
class Client(VLLMClient):
    """TRL's client, every request of which ends by `adapter.deadline`.

    Args:
        url: Of the server.
        group_port: Where weights travel.
        adapter: Sends the requests.
        failed: Called, on any thread, with what went wrong in a request beside a transfer.
    """

    def __init__(
        self, url: str, group_port: int, adapter: DeadlineAdapter, failed: Callable[[Exception], None]
    ) -> None:
        self._adapter, self._failed = adapter, failed
        self.seeds: Sequence[int] = ()
        super().__init__(base_url=url, group_port=group_port)

    def check_server(self, total_timeout: float = 0.0, retry_interval: float = POLL_SECONDS) -> None:
        """Waits for a healthy server until the deadline. TRL makes this call first: the adapter is put in here."""
        self.session.mount("http://", self._adapter)
        self.session.mount("https://", self._adapter)
        said = "nothing"
        while time.monotonic() < self._adapter.deadline:
            try:
                response = self.session.get(f"{self.base_url}/health")
            except requests.ConnectionError as error:
                said = type(error).__name__
            else:
                if response.status_code == 200:
                    return
                said = f"HTTP {response.status_code}"
            time.sleep(max(0.0, min(retry_interval, self._adapter.deadline - time.monotonic())))
        raise requests.Timeout(f"GET /health gave {said}")

    def generate(  # type: ignore[override]
        self, prompts: list[list[int]], *, generation_kwargs: dict[str, Any], **params: Any
    ) -> dict[str, Any]:
        """One request a row, each with its own of `seeds`; as TRL's otherwise.

        vLLM starts a generator from the seed for each row of a request: under one seed, equal prompts would get equal
        completions, and all others the same noise.
        """
        generate = super().generate

        def row(index: int) -> dict[str, Any]:
            seeded = {**generation_kwargs, "seed": self.seeds[index]}
            answer: dict[str, Any] = generate([prompts[index]], generation_kwargs=seeded, **params)
            return answer

        try:
            with ThreadPoolExecutor(min(CONCURRENT_REQUESTS, len(prompts))) as pool:
                rows = list(pool.map(row, range(len(prompts))))
        except Exception as error:  # noqa: BLE001 - TRL hands it to the other processes, who wait for an answer
            return {"prompt_ids": [_portable(error)] * len(prompts), "completion_ids": [], "logprobs": None}
        return {key: [value for answer in rows for value in answer[key] or [None]] for key in rows[0]}

    def _post(self, url: str, **kwargs: Any) -> Any:
        try:
            return super()._post(url, **kwargs)
        except Exception as error:
            if url.endswith(BESIDE_A_TRANSFER):
                self._failed(error)
            raise


@final
class SeededLLM:
    """A colocated vLLM that gives every row a seed of its own; TRL has one SamplingParams for all of them."""

    def __init__(self, llm: Any) -> None:
        self._llm = llm
        self.seeds: Sequence[int] = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._llm, name)

    def generate(self, prompts: list[Any], sampling_params: Any, **kwargs: Any) -> Any:
        """vLLM's own, with one SamplingParams a row."""
        params = [sampling_params.clone() for _ in prompts]
        for own, seed in zip(params, self.seeds, strict=True):
            own.seed = seed
        return self._llm.generate(prompts, sampling_params=params, **kwargs)


@final
class Generation(VLLMGeneration):
    """TRL's generation, by the client above or a colocated vLLM with a seed a row."""

    def __init__(self, *args: Any, connect: Callable[[], Client], **kwargs: Any) -> None:
        self._connect = connect
        self.vllm_client: Client
        super().__init__(*args, **kwargs)

    def generate_seeded(self, prompts: list[list[int]], seeds: Sequence[int]) -> tuple[Any, ...]:
        """TRL's `generate` with a seed for each prompt. Every process calls it; if the first fails, all do."""
        seeds = self._with_other_processes(list(seeds))
        if self.mode == "colocate":
            self.llm.seeds = seeds
        elif self.accelerator.is_main_process:
            self.vllm_client.seeds = seeds
        answer: tuple[Any, ...] = self.generate(prompts, images=None, num_generations=1)
        _raise_failure(*answer[0])
        return answer

    def _with_other_processes(self, seeds: list[int]) -> list[int]:
        """The seeds of all rows that are generated together with this process's, in TRL's order of rows."""
        group = None
        if self.mode == "colocate":
            if self.tensor_parallel_size == 1:
                return seeds
            group = self.tp_group
        elif self.accelerator.num_processes == 1:
            return seeds
        parts: list[list[int]] = [[] for _ in range(torch.distributed.get_world_size(group))]
        torch.distributed.all_gather_object(parts, seeds, group=group)
        return [seed for part in parts for seed in part]

    def _init_vllm(self) -> None:
        if self.mode == "colocate":
            super()._init_vllm()  # type: ignore[no-untyped-call]
            self.llm = SeededLLM(self.llm)
            return
        failure = self._joined() if self.accelerator.is_main_process else None
        _raise_failure(*broadcast_object_list([failure], from_process=0))

    def _joined(self) -> Exception | None:
        """Connects; the failure is given back, for the other processes to hear of it."""
        try:
            self.vllm_client = self._connect()
            self.vllm_client.init_communicator(device=self.accelerator.device)
        except Exception as error:  # noqa: BLE001 - raised once all processes have it
            return _portable(error)
        return None

    def _iter_named_params(self) -> Iterator[tuple[str, Tensor]]:
        sharded = self._dist.is_fsdp or self._dist.is_zero3
        if is_peft_model(self.model) and not sharded:
            return merged_parameters(cast("PeftModel", self.model))
        named: Iterator[tuple[str, Tensor]] = super()._iter_named_params()  # type: ignore[no-untyped-call]
        return named


def _portable(error: Exception) -> Exception:
    """The same for all processes: exceptions of HTTP hold sockets and do not all survive pickling."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, requests.Timeout):
        return requests.Timeout(str(error))
    return RuntimeError(reason(error))


def _raise_failure(*parts: object) -> None:
    """Raises the first exception among what came from another place as a value."""
    for part in parts:
        if isinstance(part, Exception):
            raise part


def merged_parameters(model: PeftModel) -> Iterator[tuple[str, Tensor]]:
    """The parameters of the plain model that a PEFT model stands for: adapters merged, while the model stays as it is.

    Merged tensors are copies: they are sent after the next ones were made.

    Raises:
        UserError: An adapter is on a layer whose weights another layer uses too: the plain model would not be tied.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer  # there is a PEFT model: peft is installed

    check_untied(model)
    for name, parameter in model.named_parameters():
        if str(model.prefix) in name or "original_module" in name:
            continue
        plain = name.removeprefix("base_model.model.").replace(".base_layer", "")
        plain = plain.replace("modules_to_save.default.", "")
        owner = model.get_submodule(name.rpartition(".base_layer.")[0])
        yield plain, _merged(owner, parameter) if isinstance(owner, BaseTunerLayer) else parameter.data


@torch.no_grad()
def _merged(layer: BaseTunerLayer, parameter: nn.Parameter) -> Tensor:
    """A copy of a base layer's parameter with the adapters merged; the layer is put back bit by bit.

    Taking the adapter off again by subtraction, as `unmerge` does, would round twice.
    """
    own = list(layer.get_base_layer().parameters())
    before = [p.detach().clone() for p in own]
    layer.merge()
    copy = parameter.detach().clone()
    layer.unmerge()
    for p, value in zip(own, before, strict=True):
        p.copy_(value)
    return copy
