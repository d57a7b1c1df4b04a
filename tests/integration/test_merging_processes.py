"""Two workers of one machine: one stage 1 in shared memory, the same actors as alone, and nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bai_sweep.merging.live import _shared

ROOT = Path(__file__).parents[2]
ALPHAS = (0.1, 0.3713907, 0.5, 0.9)

WORKER = """
import hashlib, json, sys, time
from pathlib import Path
import torch
from bai_sweep.merging import initialise
from bai_sweep.search._threads import limit_threads
from tests.unit.merging.live_helpers import bai, bits, model_config

root, me, alphas = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
family = {name: root / name for name in ("base", "instruct", "distilled")}
limit_threads(1)

def wait_for(name):
    (root / f"{name}.{me}").touch()
    while not (root / name).exists():
        time.sleep(0.01)

found = {}
for place, alpha in enumerate(alphas):
    state = bits(initialise(model_config(family), bai(alpha, 0.3)).model.state_dict())
    found[alpha] = hashlib.sha256(b"".join(state[name] for name in sorted(state))).hexdigest()
    wait_for(f"merged-{place}")
print(json.dumps(found), flush=True)
"""


@pytest.fixture
def memory() -> Iterator[Path]:
    """A place of this test's own in shared memory."""
    shared = Path("/dev/shm")
    root = Path(tempfile.mkdtemp(dir=shared if shared.is_dir() else None))
    yield root
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def family(tmp_path: Path, tiny_family: dict[str, Path]) -> Path:
    """A folder with the family, where workers leave marks for each other."""
    for name, folder in tiny_family.items():
        shutil.copytree(folder, tmp_path / name)
    return tmp_path


def start(family: Path, worker: str, memory: Path | str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(family), worker, json.dumps(ALPHAS)],
        env={**os.environ, _shared.SETTING: str(memory), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} never came"
        time.sleep(0.01)


def held(memory: Path) -> list[str]:
    return sorted(path.name for path in memory.rglob("*") if path.is_file())


def together(family: Path, workers: list[str], memory: Path) -> list[list[str]]:
    """Lets the workers go from alpha to alpha in step; what was held after each."""
    seen = []
    for place in range(len(ALPHAS)):
        for worker in workers:
            wait_for(family / f"merged-{place}.{worker}")
        seen.append(held(memory))
        (family / f"merged-{place}").touch()
    return seen


def results(process: subprocess.Popen[str]) -> dict[str, str]:
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    found: dict[str, str] = json.loads(output)
    return found


def test_two_workers_hold_one_stage_1_and_get_what_streaming_gives(family: Path, memory: Path) -> None:
    workers = {name: start(family, name, memory) for name in ("one", "two")}

    seen = together(family, list(workers), memory)
    found = [results(process) for process in workers.values()]

    assert [len(names) for names in seen] == [0, 1, 1, 1]
    assert seen[1] == seen[2] == seen[3]
    assert list(memory.iterdir()) == []
    alone = results(start(family, "three", "off"))  # the marks of the others are there
    assert found == [alone, alone]
    assert len(set(alone.values())) == len(ALPHAS)


def test_a_killed_worker_costs_the_other_nothing_and_leaves_nothing(family: Path, memory: Path) -> None:
    workers = {name: start(family, name, memory) for name in ("one", "two")}
    for place in (0, 1):
        for name in workers:
            wait_for(family / f"merged-{place}.{name}")
        if place == 0:
            (family / "merged-0").touch()
    assert len(held(memory)) == 1
    killed = workers.pop("one")
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert len(held(memory)) == 1, "the other uses it"

    together(family, ["two"], memory)
    found = results(workers["two"])

    assert list(memory.iterdir()) == []
    assert found == results(start(family, "three", "off"))


def test_what_killed_workers_held_goes_with_the_next_study(family: Path, memory: Path) -> None:
    worker = start(family, "one", memory)
    wait_for(family / "merged-0.one")
    (family / "merged-0").touch()
    wait_for(family / "merged-1.one")
    worker.kill()
    worker.communicate()
    assert len(held(memory)) == 1

    code = "from bai_sweep import merging; merging.release()"  # as a study does when its workers have ended
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, _shared.SETTING: str(memory)})

    assert list(memory.iterdir()) == []
