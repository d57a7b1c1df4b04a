"""A folder written by forked processes, its figure, and hashing beside other work."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from bai_sweep.merging import _forks
from bai_sweep.merging._types import Block, Values
from bai_sweep.merging.inputs import hashing
from bai_sweep.records import UserError
from tests.unit.merging.output_helpers import left_beside, tensors_in, write

forked = pytest.mark.skipif(not _forks.available(), reason="this system does not fork")


class Counting:
    """Counts the elements that are seen, and the processes that saw them."""

    def __init__(self) -> None:
        self.seen, self.by, self.lock = 0, {0}, threading.Lock()

    def see(self, block: Block, merged: Values) -> None:
        with self.lock:
            self.seen += block.size
            self.by |= {os.getpid()}

    def take(self) -> tuple[int, set[int]]:
        seen, self.seen = self.seen, 0
        return seen, self.by

    def absorb(self, taken: tuple[int, set[int]]) -> None:
        self.seen, self.by = self.seen + taken[0], self.by | taken[1]

    def summary(self) -> dict[str, Any]:
        return {"seen": self.seen}


def draw(summary: Mapping[str, Any], path: Path) -> None:
    path.write_text(f"a figure of {summary['seen']} elements")


def record_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "merge.json").read_text())
    return found


@forked
def test_forks_write_the_folder_that_threads_write(tiny_family: dict[str, Path], tmp_path: Path) -> None:
    by_threads, by_forks = Counting(), Counting()
    with_threads = write(tiny_family, tmp_path / "threads", dtype="BF16", geometry=by_threads, draw=draw)
    with_forks = write(tiny_family, tmp_path / "forks", dtype="BF16", geometry=by_forks, draw=draw, fork=True)

    def without_time(folder: Path) -> dict[str, Any]:
        return {key: value for key, value in record_of(folder).items() if key != "created"}

    assert by_threads.by == {0, os.getpid()}
    assert os.getpid() not in by_forks.by
    assert len(by_forks.by) > 1
    # the card names its folder, and the record has the card's size
    same = {"README.md", "merge.json"}
    names = {path.name for path in with_threads.iterdir()}
    assert names == {path.name for path in with_forks.iterdir()}
    assert all((with_threads / name).read_bytes() == (with_forks / name).read_bytes() for name in names - same)
    one, other = without_time(with_threads), without_time(with_forks)
    assert one.pop("outputs") != []
    assert other.pop("outputs") != []
    assert one == other
    assert psutil.Process().children() == []


def test_the_figure_is_drawn_before_the_folder_has_its_name_and_is_among_the_outputs(
    tiny_family: dict[str, Path], tmp_path: Path
) -> None:
    drawn: list[Path] = []

    def watched(summary: Mapping[str, Any], path: Path) -> None:
        assert not (tmp_path / "out").exists()
        drawn.append(path)
        draw(summary, path)

    folder = write(tiny_family, tmp_path / "out", geometry=Counting(), draw=watched)

    elements = sum(tensor.numel() for tensor in tensors_in(folder).values())
    assert (folder / "geometry.png").read_text() == f"a figure of {elements} elements"
    assert [path.name for path in drawn] == ["geometry.png"]
    assert drawn[0].parent.name.startswith("out.partial-")
    size = (folder / "geometry.png").stat().st_size
    assert {"file": "geometry.png", "bytes": size} in record_of(folder)["outputs"]


@pytest.mark.parametrize("error", [OSError("no space"), ValueError("no font")])
def test_a_figure_that_fails_costs_a_warning_and_no_model(
    tiny_family: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def broken(summary: Mapping[str, Any], path: Path) -> None:
        path.write_text("half")
        raise error

    with caplog.at_level(logging.WARNING):
        folder = write(tiny_family, tmp_path / "out", geometry=Counting(), draw=broken)

    assert f"its figure geometry.png is missing: {type(error).__name__}: {error}" in caplog.text
    assert not (folder / "geometry.png").exists()
    assert "geometry.png" not in {row["file"] for row in record_of(folder)["outputs"]}
    assert tensors_in(folder)


def test_nothing_is_drawn_where_nobody_looked_on(tiny_family: dict[str, Path], tmp_path: Path) -> None:
    folder = write(tiny_family, tmp_path / "out", draw=draw)

    assert not (folder / "geometry.png").exists()


def test_ctrl_c_while_the_figure_is_drawn_leaves_nothing(tiny_family: dict[str, Path], tmp_path: Path) -> None:
    def interrupted(summary: Mapping[str, Any], path: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tiny_family, tmp_path / "out", geometry=Counting(), draw=interrupted, fork=True)

    assert left_beside(tmp_path / "out") == []
    assert psutil.Process().children() == []


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Of different sizes, the larger ones of several of a hash's buffers; one is named twice."""
    found = [tmp_path / f"file-{size}" for size in (0, 3, 600_000, 2_000_000)]
    for file in found:
        size = int(file.name.partition("-")[2])
        file.write_bytes(np.random.default_rng(size).bytes(size))
    return [*found, found[1]]


@pytest.mark.parametrize("fork", [pytest.param(True, marks=forked), False])
@pytest.mark.parametrize("workers", [1, 3])
def test_files_are_hashed_while_the_block_works(files: list[Path], workers: int, fork: bool) -> None:
    with hashing(files, workers, fork=fork) as found:
        time.sleep(0.01)
        digests = found()

    assert digests == {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.parametrize("fork", [pytest.param(True, marks=forked), False])
def test_a_file_that_cannot_be_hashed_is_named_when_digests_are_asked_for(files: list[Path], fork: bool) -> None:
    absent = files[0].with_name("absent")
    with (
        pytest.raises(UserError, match=r"absent: cannot be read .*check its permissions"),
        hashing([*files, absent], 2, fork=fork) as found,
    ):
        found()


@forked
def test_what_a_block_raises_stops_the_hashing(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bai_sweep.merging.inputs._digests._digest", lambda file: time.sleep(60))
    started = time.monotonic()

    with pytest.raises(KeyError, match="block"), hashing(files, 2, fork=True):
        raise KeyError("block")

    assert time.monotonic() - started < 5
    assert psutil.Process().children() == []
