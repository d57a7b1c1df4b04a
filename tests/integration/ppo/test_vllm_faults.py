"""Everything that a server can do wrong ends in one message within the limit."""

from __future__ import annotations

import importlib
import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch
from transformers import LlamaForCausalLM

from bai_sweep.generation import Samples, uniform_numbers
from bai_sweep.ppo.rollouts import _vllm_client
from bai_sweep.ppo.rollouts._vllm import VLLMEngine
from bai_sweep.records import UserError
from tests.integration.ppo.conftest import settings
from tests.integration.ppo.vllm_stand_in import LOOPBACK, StandIn, free_port
from tests.tiny import tiny_tokenizer

LIMIT = 1.0
LATE = 2.5  # how much later than the limit an error may come on a busy machine
Start = Callable[..., VLLMEngine]


@contextmanager
def within(seconds: float) -> Iterator[None]:
    start = time.monotonic()
    yield
    assert time.monotonic() - start < seconds


def generate(engine: VLLMEngine) -> Samples:
    return engine.generate([[1, 9], [1, 10]], uniform_numbers(24, 2, torch.Generator().manual_seed(0)))


@pytest.fixture
def engine(start: Start, server: StandIn) -> VLLMEngine:
    """Connected to a server that still works."""
    return start(url=server.url, timeout=LIMIT)


@pytest.mark.parametrize("fault", ["hang", "trickle"])
def test_a_generation_that_does_not_end(engine: VLLMEngine, server: StandIn, fault: str) -> None:
    engine.sync()
    server.faults["/v1/completions"] = fault
    message = rf"^vLLM server {server.url}: generate did not end within 1 s; .* raise rl.vllm.timeout"
    with within(LIMIT + LATE), pytest.raises(UserError, match=message) as caught:
        generate(engine)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    with within(0.1), pytest.raises(UserError, match=message):  # and no second wait
        engine.sync()
    assert server.paths().count("/v1/completions") == 2  # nothing was sent twice


@pytest.mark.parametrize("path", ["/start_weight_update", "/update_weights", "/finish_weight_update"])
def test_a_synchronisation_that_does_not_end(engine: VLLMEngine, server: StandIn, path: str) -> None:
    server.faults[path] = "hang"
    message = "sync did not end within 1 s; if it needs longer, raise rl.vllm.timeout; restart the server"
    with within(LIMIT + LATE), pytest.raises(UserError, match=message):
        engine.sync()
    assert server.paths().count(path) == 1


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/server_info", "/init_weight_transfer_engine"])
def test_a_server_that_takes_the_connection_and_says_nothing(start: Start, server: StandIn, path: str) -> None:
    server.faults[path] = "hang"
    message = r"connect did not end within 1 s.* raise rl.vllm.timeout; a server is started with .*vllm serve"
    with within(LIMIT + LATE), pytest.raises(UserError, match=message):
        start(url=server.url, timeout=LIMIT)


def test_no_server(start: Start) -> None:
    url = f"http://{LOOPBACK}:{free_port()}"
    message = rf"^vLLM server {url}: connect did not end within 1 s \(GET /health gave ConnectionError\).*vllm serve"
    with within(LIMIT + LATE), pytest.raises(UserError, match=message):
        start(url=url, timeout=LIMIT)


def test_an_address_with_a_slash_at_its_end(start: Start, server: StandIn) -> None:
    start(url=server.url + "/", timeout=LIMIT)
    assert server.paths()[0] == "/health"


def test_a_server_that_is_still_loading_is_waited_for(start: Start, server: StandIn) -> None:
    server.faults["/health"] = "503"
    threading.Timer(0.8, server.faults.clear).start()
    start(url=server.url, timeout=20.0)
    assert server.paths().count("/health") > 1


def test_a_server_that_dies_while_it_generates(engine: VLLMEngine, server: StandIn) -> None:
    engine.sync()
    server.faults["/v1/completions"] = "die"
    with (
        within(LIMIT + LATE),
        pytest.raises(UserError, match=r"generate failed: the server is gone, or refuses .*log"),
    ):
        generate(engine)


def test_a_server_that_dies_while_it_takes_weights(start: Start, server: StandIn) -> None:
    engine = start(url=server.url, timeout=20.0)
    server.faults["/update_weights"] = "die"
    with within(LIMIT + LATE), pytest.raises(UserError, match=r"sync failed: the server is gone, or refuses"):
        engine.sync()


def test_a_server_that_is_gone_between_two_steps(start: Start, server: StandIn) -> None:
    engine = start(url=server.url, timeout=20.0)
    engine.sync()
    server.stop()
    with within(5.0), pytest.raises(UserError, match=r"generate failed: the server is gone, or refuses .*refused"):
        generate(engine)


def test_an_engine_that_was_closed_says_so_at_once(engine: VLLMEngine, server: StandIn) -> None:
    engine.sync()
    engine.close()
    with (
        within(0.1),
        pytest.raises(UserError, match=r"vLLM was left at the end of the training.*make a new PPOTrainer"),
    ):
        engine.sync()
    engine.close()


@pytest.mark.parametrize("status", ["500", "503"])
def test_a_generation_that_the_server_refuses(engine: VLLMEngine, server: StandIn, status: str) -> None:
    engine.sync()
    server.faults["/v1/completions"] = status
    message = f"generate failed: Request failed: {status}, CUDA out of memory; its own log says why"
    with within(LATE), pytest.raises(UserError, match=message):
        generate(engine)


def test_an_update_that_the_server_refuses_does_not_wait_for_the_limit(start: Start, server: StandIn) -> None:
    # The trainer's end of the transfer waits for a server that has answered already.
    engine = start(url=server.url, timeout=30.0)
    server.faults["/update_weights"] = "500"
    message = "sync failed: Request failed: 500, CUDA out of memory; restart the server"
    with within(5.0), pytest.raises(UserError, match=message):
        engine.sync()


def test_a_weight_transfer_that_the_server_refuses_does_not_wait_for_the_limit(start: Start, server: StandIn) -> None:
    server.faults["/init_weight_transfer_engine"] = "500"
    with within(5.0), pytest.raises(UserError, match="connect failed: Request failed: 500, CUDA out of memory"):
        start(url=server.url, timeout=30.0)


@pytest.mark.parametrize("path", ["/v1/models", "/v1/completions"])
def test_an_answer_that_is_not_json(start: Start, server: StandIn, path: str) -> None:
    server.faults[path] = "garbage"
    with within(LIMIT + LATE), pytest.raises(UserError, match=r"(connect|generate) failed: the answer is not JSON"):
        generate(start(url=server.url, timeout=LIMIT))


def nan_logprob(choice: Any) -> None:
    said = choice["logprobs"]
    said["token_logprobs"][0], said["top_logprobs"][0] = math.nan, None


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda c: c.pop("token_ids"),
            r"generate failed: the answer does not have vLLM's form \(KeyError: 'token_ids'",
        ),
        (lambda c: c.update(logprobs=None), "generate gave no log-probabilities"),
        (lambda c: c.update(prompt_token_ids=[5]), "generate gave completions of other prompts than were sent"),
        (lambda c: c.update(token_ids=[]), "generate gave completions of .* tokens, max_new_tokens 24"),
        (lambda c: c.update(token_ids=[9] * 25), "generate gave completions of .* tokens, max_new_tokens 24"),
    ],
)
def test_an_answer_of_another_form(
    engine: VLLMEngine, server: StandIn, edit: Callable[[Any], object], message: str
) -> None:
    server.edit = edit
    with pytest.raises(UserError, match=rf"^vLLM server {server.url}: .*{message}"):
        generate(engine)


def test_a_prompt_beyond_the_servers_context(engine: VLLMEngine, server: StandIn) -> None:
    server.max_model_len = 20
    with pytest.raises(UserError, match="generate failed: Request failed: 400, maximum context length is 20 tokens"):
        generate(engine)


def test_logprobs_from_before_the_temperature_are_refused(start: Start, server: StandIn) -> None:
    server.logprobs_mode = "raw_logprobs"
    with pytest.raises(
        UserError, match=r"raw_logprobs\), and rl.temperature is 0.7; start it with --logprobs-mode proc"
    ):
        start(url=server.url)
    assert generate(start(url=server.url, temperature=1.0)).lengths.min() > 0  # both are the same then


def test_a_server_without_weight_transfer(start: Start, server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "answer", _without_weight_transfer(server.answer))
    with pytest.raises(UserError, match=r"connect failed: .* has no weight-transfer engine. Restart it with"):
        start(url=server.url)


def _without_weight_transfer(answer: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    def changed(path: str, body: Any) -> Any:
        if path == "/server_info":
            return {"vllm_config": {"weight_transfer_config": None}}
        return answer(path, body)

    return changed


def test_vllm_is_not_installed(actor: LlamaForCausalLM) -> None:
    if _vllm_client.is_vllm_available():
        pytest.skip("vLLM is installed")
    with pytest.raises(UserError, match=r"package vllm, which is not installed; run pip install 'bai-sweep\[vllm\]'"):
        build(actor)


def test_vllm_is_installed_but_broken(actor: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bai_sweep.ppo.rollouts._vllm_client", None)
    monkeypatch.delattr(importlib.import_module("bai_sweep.ppo.rollouts"), "_vllm_client")
    with pytest.raises(UserError, match=r"vLLM cannot be imported \(.*\); run pip install 'bai-sweep\[vllm\]'"):
        build(actor)


@pytest.mark.usefixtures("_vllm")
def test_a_process_without_cuda(actor: LlamaForCausalLM) -> None:
    with pytest.raises(UserError, match=r"needs a CUDA device .* this process has cpu; set rl.engine=hf"):
        build(actor)


def build(actor: LlamaForCausalLM) -> VLLMEngine:
    return VLLMEngine(
        actor,
        tiny_tokenizer(),
        accelerate.Accelerator(cpu=True),
        settings(),
        max_new_tokens=4,
        temperature=1.0,
        eos_token_ids=(2,),
    )


LEAVES = """
from unittest import mock
import time
import torch
from tests.integration.ppo import conftest
from tests.integration.ppo.vllm_stand_in import StandIn
from bai_sweep.ppo.rollouts._vllm import VLLMEngine
from bai_sweep.records import UserError
from tests.tiny import tiny_model, tiny_tokenizer

conftest.install_stand_in(setattr)
server = StandIn(tiny_model(seed=2))
settings = conftest.settings(url=server.url, timeout=1.0)
engine = VLLMEngine(tiny_model(), tiny_tokenizer(), conftest.CudaInName(cpu=True), settings,
                    max_new_tokens=4, temperature=1.0, eos_token_ids=(2,))
server.faults["/update_weights"] = "hang"
try:
    engine.sync()
except UserError as error:
    print(error)
"""


@pytest.mark.slow  # another process imports torch
def test_a_process_whose_transfer_hangs_still_ends() -> None:
    # TRL waits for the transfer in a pool whose threads Python joins at exit.
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", LEAVES], cwd=root, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "sync did not end within 1 s" in done.stdout
