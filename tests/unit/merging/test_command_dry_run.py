"""The dry run says what the merge does: where it may write, what room it wants, how much it holds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bai_sweep.merging import _engine, _forks, _worker
from bai_sweep.merging._types import TensorInfo, TensorSpec, Values
from bai_sweep.merging.command import _run
from bai_sweep.merging.command._arguments import settings_of
from bai_sweep.merging.command._dry_run import rooms_of
from bai_sweep.merging.command._place import require_place
from bai_sweep.merging.methods import method_of
from bai_sweep.records import UserError
from tests.tiny import save_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a mask of a megabyte, which is copied and not merged."""
    folder = save_tiny_model(tmp_path_factory.mktemp("model") / "base", dtype=torch.bfloat16)
    file = folder / "model.safetensors"
    save_file({**load_file(file), "model.mask": torch.ones(10**6, dtype=torch.bool)}, file, metadata={"format": "pt"})
    return folder


def arguments(model: Path, out: Path, *more: str) -> list[str]:
    return [f"base={model}", f"sft.a={model}", f"out={out}", "figure=false", "threads=1", *more]


def run(given: Sequence[str]) -> None:
    _run.run(settings_of(given), "a command")


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_the_dry_run_and_the_merge_want_the_same_room(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(arguments(model, tmp_path / "plain"))
    weights = (tmp_path / "plain" / "model.safetensors").stat().st_size
    capsys.readouterr()
    refused = []
    for free in (weights - 1, weights, weights + 2**20 - 1, weights + 2**20):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: Usage(10**12, 0, free))
        run(arguments(model, tmp_path / f"of-{free}", "dry_run=true"))
        said = "TOO LITTLE" in capsys.readouterr().out
        with suppress(UserError):
            run(arguments(model, tmp_path / f"of-{free}"))
        assert said != (tmp_path / f"of-{free}").exists()
        if said:
            refused.append(free)

    assert refused == [weights - 1, weights, weights + 2**20 - 1]


@pytest.mark.parametrize("dry", ["true", "false"])
def test_a_place_that_cannot_be_written_to_is_said_before_a_model_is_opened(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, dry: str
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(_run, "planned", lambda _: pytest.fail("a model was opened"))

    with pytest.raises(UserError, match=r"file/merged cannot be made: .*file is no folder; write elsewhere"):
        run(arguments(model, tmp_path / "file" / "merged", f"dry_run={dry}"))
    # the tests may run as root, who may write anywhere
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path or mode != os.W_OK | os.X_OK)
    with pytest.raises(UserError, match=f"{tmp_path} cannot be written to: change its permissions or write elsewhere"):
        run(arguments(model, tmp_path / "deep" / "merged", f"dry_run={dry}"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_may_not_be_entered_is_said(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0)
    child = os.fork()
    if child == 0:  # without root's rights
        code = 1
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            require_place(locked / "deep" / "merged")
        except UserError as error:
            code = 0 if "cannot be written to: change its permissions" in str(error) else 2
        finally:
            os._exit(code)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_place_is_the_nearest_folder(tmp_path: Path) -> None:
    assert require_place(tmp_path / "a" / "b" / "c") == tmp_path
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert require_place(tmp_path / "a" / "b" / "c") == tmp_path / "a" / "b"
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match="lost is no folder"):
        require_place(tmp_path / "lost" / "merged")
    with pytest.raises(UserError, match="root of the file system"):
        require_place(Path("/"))


class Random:
    """A model of one tensor."""

    specs: ClassVar = {"w": TensorSpec((64,), "F32")}

    def __init__(self, seed: int) -> None:
        self._values = np.random.default_rng(seed).standard_normal(64).astype(np.float32)

    def read(self, name: str, start: int, into: Values) -> None:
        assert name == "w"
        into[:] = self._values[start : start + into.size]


class Nowhere:
    def write(self, name: str, start: int, values: Values) -> None:
        """Forgets it."""


@pytest.mark.parametrize("count", [3, 5])
@pytest.mark.parametrize(
    ("merge", "rooms"),
    [
        (["merge=linear"], 2),
        (["merge=depth"], 2),
        (["merge=two_save"], 2),
        (["merge=slerp"], 2),
        (["merge=task_arithmetic"], 3),
        (["merge=dare"], 3),
        (["merge=dare", "merge.election=weight"], 8),
        (["merge=ties"], 8),
    ],
)
def test_a_method_works_in_as_many_rooms_as_the_dry_run_counts(
    monkeypatch: pytest.MonkeyPatch, merge: list[str], rooms: int, count: int
) -> None:
    sft = [f"sft.m{number}=testbed://instruct" for number in range(count)]
    settings = settings_of(["base=testbed://base", *sft, "out=merged", *merge])
    made = []
    make = _worker.aligned
    monkeypatch.setattr(_worker, "aligned", lambda size: made.append(size) or make(size))
    method = method_of(settings.actor)
    values = {name: Random(seed) for seed, name in enumerate(method.members)}

    _engine.run([TensorInfo("w", (64,), "mlp", 0.5)], values, method, Nowhere(), threads=1)

    assert len(made) == rooms
    assert rooms_of(settings.merge) == rooms


@pytest.mark.parametrize("case", [(1, True, "one process"), (3, True, "3 worker processes"), (3, False, "3 threads")])
def test_the_memory_is_that_of_the_workers_that_there_will_be(
    tmp_path: Path,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    case: tuple[int, bool, str],
) -> None:
    threads, forks, said = case
    monkeypatch.setattr(_forks, "available", lambda: forks)
    given = [*arguments(model, tmp_path / "m"), "dry_run=true"]

    run([*(one for one in given if not one.startswith("threads=")), f"threads={threads}"])

    assert f" with {said}, beyond the page cache" in capsys.readouterr().out
