"""A disk that is full costs checkpoints, never the run: a real one, as small as it must be to be full."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bai_sweep.ppo._telemetry import reproducible
from bai_sweep.ppo.checkpoints import Checkpoints

APART = ["unshare", "--map-root-user", "--mount", "sh", "-ec"]
"""A shell that may mount what only it and what it starts see, and what is gone with them."""

SCRIPT = """
mount -t tmpfs -o size=$1 full full
"$2" -m tests.integration.ppo.resumable "$3"
cp -r full found
cp -r full again
"$2" -m tests.integration.ppo.resumable "$4"
"""
SIZE = 900_000
"""Bytes: of one checkpoint and a half, so that there is no room to write another while one is there."""


def can_mount(folder: Path) -> bool:
    """Whether there are user namespaces here, which a container may refuse, and tmpfs in them."""
    if shutil.which(APART[0]) is None:
        return False
    tried = [*APART, 'mount -t tmpfs -o size=64k full "$1"', "sh", str(folder)]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


def job(folder: Path) -> dict[str, Any]:
    return {"how": "never", "folder": str(folder), "settings": {"steps": 4, "critic_warmup_steps": 0}}


def telemetry(folder: Path) -> list[dict[str, float]]:
    return [reproducible(step["metrics"]) for step in json.loads((folder / "telemetry.json").read_text())]


@pytest.mark.slow  # two starts of Python with torch
def test_training_goes_on_and_the_earlier_checkpoint_stays(tmp_path: Path) -> None:
    whole, full, found, again = (tmp_path / name for name in ("whole", "full", "found", "again"))
    full.mkdir()
    if not can_mount(full):
        pytest.skip("a file system to fill cannot be mounted here")
    jobs = [json.dumps([job(whole), job(full)]), json.dumps([job(again)])]
    done = subprocess.run(
        [*APART, SCRIPT, "sh", str(SIZE), sys.executable, *jobs],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )

    assert done.returncode == 0, done.stderr
    size = sum(file.stat().st_size for file in (found / "checkpoints" / "step-00000001").iterdir())
    assert 1.2 * size < SIZE < 1.8 * size, f"a checkpoint has {size} bytes now; change SIZE"
    refused = [line for line in done.stderr.splitlines() if os.strerror(errno.ENOSPC) in line]
    unwritten = [f"no checkpoint after step {step}" for step in (2, 3, 4, 4)]  # the last is tried again at the end
    assert [line.split(" in ")[0] for line in refused] == unwritten
    assert [path.name for path in (found / "checkpoints").iterdir()] == ["step-00000001"]
    assert telemetry(found) == telemetry(whole), "the run itself was changed"
    assert telemetry(again) == telemetry(whole), "what was on the full disk is not gone on from"
    assert Checkpoints.of(again, 1).steps() == [4]
