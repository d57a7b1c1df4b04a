"""A study that is killed in the middle of PPO goes on from the trial's checkpoint, to the same telemetry."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

TRIAL = Path("results", "default", "trials", "0")
COMMAND = [
    *(sys.executable, "-m", "bai_sweep", "-m", "alpha=0.5", "tracking=none"),
    *("rl.steps=6", "rl.checkpoint_steps=2", "rl.batch_size=8", "rl.minibatch_size=4", "rl.max_new_tokens=48"),
    *("rl.kl_to_sft=true", "evaluation.max_new_tokens=16"),
    *(f"evaluation.benchmarks.{name}.limit=2" for name in ("knowledge", "arithmetic", "arena")),
]


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *more],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def telemetry(folder: Path) -> list[dict[str, Any]]:
    clocks = ("seconds/", "tokens_per_second/", "memory/")
    steps = json.loads((folder / TRIAL / "result.json").read_text())["telemetry"]
    return [{k: v for k, v in step["metrics"].items() if not k.startswith(clocks)} for step in steps]


def journaled_steps(folder: Path) -> list[list[int]]:
    """The steps of PPO that each attempt has in the journal."""
    attempts: dict[str, list[int]] = {}
    for line in (folder / TRIAL / "journal.jsonl").read_text().splitlines():
        event = json.loads(line)
        attempts.setdefault(event["attempt"], [])
        if "objective/scores" in event.get("values", {}):
            attempts[event["attempt"]].append(event["step"])
    return list(attempts.values())


@pytest.mark.slow
def test_killed_in_ppo_and_resumed(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    output, _ = (undisturbed := start(whole)).communicate(timeout=600)
    assert undisturbed.returncode == 0, output

    process, deadline = start(killed), time.monotonic() + 600
    while not (killed / TRIAL / "checkpoints" / "step-00000002").is_dir():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    output, _ = (process := start(killed, "resume=true")).communicate(timeout=600)
    assert process.returncode == 0, output

    logs = "".join(file.read_text() for file in (killed / TRIAL).glob("*.log"))
    assert journaled_steps(killed)[-1] == [1, 2, 3, 4, 5, 6], "the last attempt counts on its own"
    assert "PPO goes on after step 2 of 6" in logs
    assert telemetry(killed) == telemetry(whole)
    assert {"objective/kl_to/instruct", "objective/kl_to/distilled"} <= telemetry(killed)[0].keys()
    assert not (killed / TRIAL / "checkpoints").exists(), "a finished trial needs no checkpoints"
