"""A run that is killed with -9 at any moment and resumed tells what a run tells that nobody disturbed, bit for bit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bai_sweep.ppo._telemetry import reproducible

Run = Callable[..., list[tuple[list[Any], int]]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Does jobs of `resumable` with equal settings; returns the last attempt's telemetry and the kills of each."""

    def start(settings: dict[str, Any], *jobs: dict[str, Any]) -> list[tuple[list[Any], int]]:
        told = [{"folder": str(tmp_path / job["how"]), "settings": settings, **job} for job in jobs]
        command = [sys.executable, "-m", "tests.integration.ppo.resumable", json.dumps(told)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
        assert done.returncode == 0, done.stderr
        return [(telemetry_in(Path(job["folder"])), n) for job, n in zip(told, json.loads(done.stdout), strict=True)]

    return start


def telemetry_in(folder: Path) -> list[tuple[int, dict[str, float]]]:
    """Without times and memory; the last checkpoint stands beside it."""
    steps = json.loads((folder / "telemetry.json").read_text())
    assert (folder / "checkpoints" / f"step-{len(steps):08d}").is_dir()
    return [(step["step"], reproducible(step["metrics"])) for step in steps]


def test_killed_while_it_writes_and_resumed(run: Run) -> None:
    (whole, _), (resumed, killed) = run({"steps": 5}, {"how": "never"}, {"how": "touch", "first": 1, "stride": 6})

    assert killed >= 4
    assert resumed == whole
    assert [step for step, _ in whole] == [1, 2, 3, 4, 5]
    assert len({metrics["objective/kl_coef"] for _, metrics in whole}) >= 3, "the KL controller hardly moved"
    assert ["loss/policy_avg" in metrics for _, metrics in whole] == [False] * 2 + [True] * 3, "no warm-up"


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"dtype": "bfloat16", "precision": "bf16"},
        {"precision": "bf16", "checkpoint_steps": 2, "checkpoint_limit": 1},
        {"lora": {"r": 4, "alpha": 8, "target_modules": "all-linear"}},
    ],
    ids=["fp32", "bf16 weights", "bf16, every second step", "adapter"],
)
def test_killed_at_every_touch_of_a_file_and_at_random(run: Run, settings: dict[str, Any]) -> None:
    (whole, _), (touched, killed), (random, _) = run(
        settings,
        {"how": "never"},
        {"how": "touch", "first": 1, "stride": 1},
        {"how": "random", "kills": 15, "seed": 1, "seconds": 1.0},
    )

    assert killed >= 20
    assert touched == whole
    assert random == whole
