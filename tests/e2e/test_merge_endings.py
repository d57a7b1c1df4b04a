"""How `python -m bai_sweep.merge` ends where nobody listens, and where it is told to."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.tiny import save_tiny_model

COMMAND = f"{shlex.quote(sys.executable)} -m bai_sweep.merge"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("models")
    base, sft = (save_tiny_model(root / name, seed=0, dtype=torch.bfloat16) for name in ("base", "sft"))
    return f"base={base} sft.a={sft} figure=false"


@pytest.fixture(scope="module")
def weights(models: str, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What a merge writes."""
    root = tmp_path_factory.mktemp("plain")
    subprocess.run(["bash", "-c", f"{COMMAND} {models} out=merged"], cwd=root, capture_output=True, check=True)
    return (root / "merged" / "model.safetensors").read_bytes()


def shell(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """The exit code is the first command's of a pipe."""
    script = f"{script}; exit ${{PIPESTATUS[0]}}"
    return subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def require_quiet(done: subprocess.CompletedProcess[str]) -> None:
    for bad in ("Traceback", "Exception ignored", "Error"):
        assert bad not in done.stderr + done.stdout


@pytest.mark.parametrize(
    "streams",
    ["| head -0", ">/dev/full", "2>/dev/full", "2>&1 | head -0", "2>&-", ">&-", ">&- 2>&-", "<&- >&- 2>&-"],
)
def test_a_merge_whose_messages_cannot_be_printed_is_a_merge(
    tmp_path: Path, models: str, weights: bytes, streams: str
) -> None:
    done = shell(tmp_path, f"{COMMAND} {models} out=merged {streams}")

    assert done.returncode == 0, done.stderr
    require_quiet(done)
    assert (tmp_path / "merged" / "model.safetensors").read_bytes() == weights
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]


def test_a_name_that_the_terminal_cannot_spell_is_shown_with_escapes(tmp_path: Path, models: str) -> None:
    done = shell(tmp_path, f"PYTHONIOENCODING=ascii {COMMAND} {models} out=ü")

    assert done.returncode == 0, done.stderr
    require_quiet(done)
    assert "into      \\xfc\n" in done.stdout
    assert (tmp_path / "ü").is_dir()


@pytest.mark.parametrize("arguments", ["{models} out=merged dry_run=true", "--help"])
def test_who_stops_reading_has_had_enough_and_a_full_disk_is_a_fault(
    tmp_path: Path, models: str, arguments: str
) -> None:
    command = f"{COMMAND} {arguments.format(models=models)}"

    some, none, full = (shell(tmp_path, f"{command} {to}") for to in ("| head -1", "| head -0", ">/dev/full"))

    assert (some.returncode, none.returncode, full.returncode) == (0, 0, 1), full.stderr
    assert some.stdout.count("\n") == 1
    assert full.stderr == "standard output cannot be written to: No space left on device; write it elsewhere\n"
    for done in (some, none):
        assert not done.stderr


@pytest.mark.parametrize("streams", ["2>&-", "2>/dev/full"])
def test_a_fault_that_cannot_be_printed_has_its_exit_code(tmp_path: Path, models: str, streams: str) -> None:
    (tmp_path / "there").mkdir()

    codes = [shell(tmp_path, f"{COMMAND} {rest} {streams}") for rest in (f"{models} out=there", "alpha=2", "")]

    assert [done.returncode for done in codes] == [1, 2, 2]
    assert not any(done.stdout for done in codes)


def processes_of(group: int) -> list[int]:
    """Who of a process group still runs."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(status.parent.name))
    return found


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows enough that a merge with every diagnostic takes a second or more."""
    folder = tmp_path_factory.mktemp("large") / "model"
    return save_tiny_model(folder, vocab_size=400_000, hidden_size=64, dtype=torch.bfloat16)


@pytest.mark.parametrize("whole_group", [False, True], ids=["the command", "all of its processes"])
@pytest.mark.parametrize("numbers", [(signal.SIGTERM,), (signal.SIGHUP,), (signal.SIGTERM, signal.SIGHUP)], ids=str)
def test_a_signal_in_the_middle_leaves_nothing(
    tmp_path: Path, large: Path, numbers: tuple[signal.Signals, ...], whole_group: bool
) -> None:
    arguments = f"base={large} sft.a={large} sft.b={large} merge=ties diagnostics=full threads=2 out=merged"
    command = [sys.executable, "-m", "bai_sweep.merge", *arguments.split()]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, text=True, start_new_session=True, **pipes) as process:
        while len(processes_of(process.pid)) < 2 and process.poll() is None:
            time.sleep(0.005)
        for number in numbers:
            (os.killpg if whole_group else os.kill)(process.pid, number)
        output, errors = process.communicate(timeout=30)

    # of two that come at once, Python may answer either first
    assert process.returncode in [128 + number for number in numbers], errors
    assert re.fullmatch(r"merging .*\n(doubt: .*\n)*stopped; nothing was left at .*\nstopped: nothing .*\n", errors)
    assert not output
    assert not processes_of(process.pid)
    assert not list(tmp_path.iterdir())


def test_a_command_that_was_started_with_nohup_outlives_its_terminal(tmp_path: Path, large: Path) -> None:
    arguments = f"base={large} sft.a={large} sft.b={large} figure=false threads=2 out=merged"
    with subprocess.Popen(
        ["bash", "-c", f"trap '' HUP; exec {COMMAND} {arguments}"], cwd=tmp_path, stderr=subprocess.PIPE
    ) as process:
        while not list(tmp_path.iterdir()) and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGHUP)
        _, errors = process.communicate(timeout=30)

    assert process.returncode == 0, errors
