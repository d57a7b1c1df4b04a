"""One process of several that share a run: generates for its rows and writes what it got, then meets a hang."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator

from bai_sweep.config import VLLMSettings
from bai_sweep.ppo.rollouts._vllm import VLLMEngine
from bai_sweep.records import UserError
from tests.integration.ppo.conftest import CudaInName, install_stand_in, settings, spread
from tests.tiny import tiny_model, tiny_tokenizer


def build(accelerator: Accelerator, where: VLLMSettings) -> VLLMEngine:
    """This process's engine."""
    return VLLMEngine(
        spread(tiny_model(seed=1)),
        tiny_tokenizer(),
        accelerator,
        where,
        max_new_tokens=24,
        temperature=0.7,
        eos_token_ids=(2, 7),
    )


def refusal(work: Callable[[], object]) -> str:
    """What the error says that `work` ends in."""
    try:
        work()
    except UserError as error:
        return str(error)
    return ""


def main(url: str, group_port: int, batch: Path, out: Path) -> None:
    """Takes its share of the batch, by rank."""
    install_stand_in(setattr)
    accelerator = CudaInName(cpu=True)
    rank, count = accelerator.process_index, accelerator.num_processes
    work = json.loads(batch.read_text())
    size = len(work["prompts"]) // count
    mine = slice(rank * size, (rank + 1) * size)
    absent = refusal(lambda: build(accelerator, settings(timeout=1.0)))  # nobody listens there
    engine = build(accelerator, settings(url=url, group_port=group_port, timeout=20.0))
    engine.sync()
    uniform = torch.tensor(work["uniform"], dtype=torch.float64)[:, mine]
    samples = engine.generate(work["prompts"][mine], uniform)
    engine.settings = settings(url=url, timeout=2.0)
    start = time.monotonic()
    hang = refusal(lambda: engine.generate(work["hanging"][mine], uniform))
    seconds = time.monotonic() - start
    engine.close()
    found = {"tokens": samples.completions(), "logprobs": samples.logprobs.tolist(), "ended": samples.ended.tolist()}
    (out / f"{rank}.json").write_text(
        json.dumps({**found, "absent": absent, "hang": hang, "seconds": seconds, "count": count})
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
