"""An actor, a stand-in server that has other weights than the actor, and an engine between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from transformers import LlamaForCausalLM
from trl.generation import vllm_client, vllm_generation

from bai_sweep.config import VLLMSettings
from bai_sweep.ppo.rollouts import _vllm_client
from bai_sweep.ppo.rollouts._vllm import VLLMEngine
from tests.integration.ppo import vllm_stand_in
from tests.integration.ppo.vllm_stand_in import LOOPBACK, StandIn, free_port
from tests.tiny import tiny_model, tiny_tokenizer


class CudaInName(Accelerator):
    """Says that it is on a CUDA device: TRL refuses to send weights from any other."""

    @property
    def device(self) -> torch.device:
        return torch.device("cuda")


def settings(**changes: Any) -> VLLMSettings:
    """conf/rl/ppo.yaml's, with a limit that a test can wait for."""
    values = {
        "mode": "server",
        "url": f"http://{LOOPBACK}:1",
        "group_port": free_port(),
        "timeout": 30.0,
        "gpu_memory_utilization": 0.3,
        "tensor_parallel_size": 1,
        "max_model_length": None,
    }
    return VLLMSettings(**{**values, **changes})


def install_stand_in(setattr_: Callable[..., None]) -> None:
    """Puts the stand-in where TRL has imported names from vLLM; everything else is TRL's and ours."""
    for module in (vllm_client, vllm_generation, _vllm_client):
        setattr_(module, "is_vllm_available", lambda min_version=None: True)
    setattr_(vllm_client, "_HAS_STATEFUL_TRAINER_ENGINE", True)
    setattr_(vllm_client, "_HAS_RESET_PREFIX_CACHE_SUCCESS", True)
    setattr_(vllm_client, "get_ip", lambda: LOOPBACK)
    setattr_(vllm_client, "open_trainer_endpoint", vllm_stand_in.trainer_init)
    setattr_(vllm_client, "packed_nccl_broadcast_producer", vllm_stand_in.packed_broadcast)
    setattr_(vllm_generation, "LLM", vllm_stand_in.LLM)
    setattr_(vllm_generation, "SamplingParams", vllm_stand_in.SamplingParams)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def _vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    install_stand_in(lambda module, name, value: monkeypatch.setattr(module, name, value, raising=False))


@pytest.fixture
def actor() -> LlamaForCausalLM:
    return spread(tiny_model(seed=1))


@pytest.fixture
def server() -> Iterator[StandIn]:
    """Serves a model of the actor's shape that has not seen its weights."""
    stand_in = StandIn(spread(tiny_model(seed=2)))
    yield stand_in
    stand_in.stop()


@pytest.fixture
def start(actor: LlamaForCausalLM, _vllm: None) -> Iterator[Callable[..., VLLMEngine]]:
    """Engines, closed in the end: `start(url=..., timeout=...)`, or with `model=` instead of the actor."""
    engines: list[VLLMEngine] = []

    def build(model: Any = None, temperature: float = 0.7, max_new_tokens: int = 24, **changes: Any) -> VLLMEngine:
        engine = VLLMEngine(
            model if model is not None else actor,
            tiny_tokenizer(),
            CudaInName(cpu=True),
            settings(**changes),
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            eos_token_ids=(2, 7),
        )
        engines.append(engine)
        return engine

    yield build
    for engine in engines:
        engine.close()


def spread(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """Logits wide apart, so that other weights say clearly other things."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(4.0)
    return model
