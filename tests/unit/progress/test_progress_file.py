"""The file a trial writes: whole at every moment, rarely written, never in the trial's way."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from bai_sweep.progress import Progress, ProgressFile, read_progress
from bai_sweep.progress._file import PROGRESS


def written(folder: Path) -> Progress:
    progress = read_progress(folder / PROGRESS)
    assert progress is not None
    return progress


def test_stages_and_the_end_are_written_at_once(tmp_path: Path) -> None:
    file = ProgressFile(tmp_path / "new", 3, "alpha=0.5")
    assert (written(tmp_path / "new").number, written(tmp_path / "new").state) == (3, "running")
    file.stage("ppo", 50)
    assert (written(tmp_path / "new").stage, written(tmp_path / "new").total) == ("ppo", 50)
    file.finish("failed")
    assert written(tmp_path / "new").state == "failed"


def test_steps_are_written_twice_a_second_at_most(tmp_path: Path) -> None:
    file = ProgressFile(tmp_path, 0, "t")
    file.stage("ppo", 10_000)
    seen = set()
    begun = time.monotonic()
    while time.monotonic() - begun < 1.3:
        file.advance(int((time.monotonic() - begun) * 1000))
        seen.add(written(tmp_path).done)
    assert 2 <= len(seen) <= 4


def test_advance_costs_nothing_beside_a_step(tmp_path: Path) -> None:
    file = ProgressFile(tmp_path, 0, "t")
    begun = time.perf_counter()
    for step in range(2000):
        file.advance(step, "note")
    assert time.perf_counter() - begun < 0.5


def test_a_total_may_come_later_and_lasts_for_its_stage(tmp_path: Path) -> None:
    file = ProgressFile(tmp_path, 0, "t")
    file.stage("evaluation")
    file.advance(1, total=9)
    file.advance(2)
    file.finish()
    assert (written(tmp_path).done, written(tmp_path).total) == (2, 9)
    file.stage("next")
    assert (written(tmp_path).done, written(tmp_path).total) == (0, None)


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    file = ProgressFile(tmp_path, 0, "t")
    begun, stop = threading.Event(), threading.Event()

    def write() -> None:
        while not stop.is_set():
            file.stage("x" * 5000)
            begun.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert begun.wait(60)
    try:
        stages = {json.loads((tmp_path / PROGRESS).read_text())["stage"] for _ in range(300)}
    finally:
        stop.set()
        writer.join()
    assert stages == {"x" * 5000}


def test_a_lost_folder_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = ProgressFile(tmp_path / "gone", 7, "t")
    (tmp_path / "gone" / PROGRESS).unlink()
    (tmp_path / "gone").rmdir()
    file.stage("ppo", 5)
    file.stage("evaluation", 5)
    assert caplog.text.count("no progress display for trial 7") == 1


def test_what_is_not_a_progress_file_reads_as_none(tmp_path: Path) -> None:
    path = tmp_path / PROGRESS
    assert read_progress(path) is None
    for text in ("{", "[]", '{"other": 1}'):
        path.write_text(text)
        assert read_progress(path) is None


@pytest.mark.parametrize(
    ("done", "total", "eta"),
    [(10, 50, 80.0), (50, 50, 0.0), (60, 50, 0.0), (0, 50, None), (10, None, None)],
)
def test_stage_eta_is_the_rest_at_the_pace_so_far(done: int, total: int | None, eta: float | None) -> None:
    progress = Progress(0, "t", started=0.0, updated=120.0, stage_started=100.0, done=done, total=total)
    assert progress.stage_eta == eta
