"""Two processes and one server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bai_sweep.ppo.rollouts._vllm import VLLMEngine
from tests.integration.ppo.test_vllm_server import PROMPTS, uniform
from tests.integration.ppo.vllm_stand_in import LOOPBACK, StandIn, free_port

LONG = [[1] * 100] * 4  # how the stand-in knows that it is to hang


@pytest.mark.slow  # three processes import torch
def test_each_process_gets_its_own_rows_and_each_ends_at_the_limit(
    start: Callable[..., VLLMEngine], server: StandIn, tmp_path: Path
) -> None:
    prompts, numbers = PROMPTS[:4], uniform(0, rows=4)
    server.hang = lambda body: len(body["prompt"][0]) == 100
    batch = tmp_path / "batch.json"
    batch.write_text(json.dumps({"prompts": prompts, "hanging": LONG, "uniform": numbers.tolist()}))
    ranks = launch(server, batch, tmp_path)
    server.group.close()
    server.group = None
    engine = start(url=server.url)
    engine.sync()
    alone = engine.generate(prompts, numbers)
    assert [row for rank in ranks for row in rank["tokens"]] == alone.completions()
    assert [row for rank in ranks for row in rank["ended"]] == alone.ended.tolist()
    for rank in ranks:
        assert rank["count"] == 2
        assert "connect did not end within 1 s (GET /health gave ConnectionError)" in rank["absent"]
        assert "generate did not end within 2 s" in rank["hang"]
        assert rank["seconds"] < 3.5


def launch(server: StandIn, batch: Path, out: Path) -> list[dict[str, object]]:
    """Runs vllm_rank.py twice, in one group."""
    script = Path(__file__).with_name("vllm_rank.py")
    shared = {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": LOOPBACK,
        "MASTER_PORT": str(free_port()),
        "ACCELERATE_USE_CPU": "true",
    }
    command = [sys.executable, str(script), server.url, str(free_port()), str(batch), str(out)]
    processes = [
        subprocess.Popen(
            command,
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": str(root())},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    return [json.loads((out / f"{rank}.json").read_text()) for rank in range(2)]


def root() -> Path:
    """Of the repository."""
    return Path(__file__).parents[3]
