"""Checkpoints in a folder: each is there whole or not at all, and every byte is checked before it is used.

A checkpoint is a folder `step-00000010` of safetensors files and a `state.json` with their sizes and checksums; no
pickle. It is written beside its place, forced to the disk and then renamed, so that a kill or a power cut at any
moment leaves the one before as it was. Names that begin with a dot are leavings; the next checkpoint clears them away.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

log = logging.getLogger(__name__)

STATE = "state.json"
FORMAT = 1
_CHUNK = 1 << 24  # bytes read at once for a checksum


@dataclass(frozen=True)
class Checkpoint:
    """What is kept of a run after a step.

    Args:
        step: Steps done.
        state: Everything that is not a tensor, as JSON has it.
        tensors: The others, by the name of their file and their own.
    """

    step: int
    state: Mapping[str, Any]
    tensors: Mapping[str, Mapping[str, Tensor]]


@final
class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: Theirs alone; made when the first is written.
        keep: How many are kept; while one is written there is room for one more.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep
        self._unusable: set[int] = set()  # steps, as `newest` found

    @classmethod
    def of(cls, run: Path, keep: int) -> Checkpoints:
        """Those in the folder of a run."""
        return cls(run / "checkpoints", keep)

    def save(self, checkpoint: Checkpoint) -> bool:
        """Adds a checkpoint and removes those that are too many.

        A disk that is full or gone costs the checkpoint, not the run: the fault is logged, the checkpoint before
        stays, and the next one is tried again.

        Returns:
            Whether it is there.
        """
        partial = self.folder / f".partial-{checkpoint.step}-{os.getpid()}"
        try:
            self._clear()
            _write(partial, checkpoint)
            self._publish(partial, checkpoint.step)
            self._drop(checkpoint.step)
        except (OSError, SafetensorError) as error:
            log.error("no checkpoint after step %d in %s: %s; training goes on", checkpoint.step, self.folder, error)
            shutil.rmtree(partial, ignore_errors=True)
            return False
        return True

    def newest(self) -> int | None:
        """The step of the newest checkpoint that is whole; of every newer one a warning says what is wrong with it.

        The next `save` removes those.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                self.read(step)
            except (OSError, SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
                then = "none is left; the run starts anew" if step == steps[0] else "the one before is taken"
                log.warning("the checkpoint %s cannot be used (%s); %s", self._path(step), error, then)
                self._unusable.add(step)
            else:
                return step
        return None

    def read(self, step: int) -> Checkpoint:
        """A checkpoint, every byte of it as it was written.

        Raises:
            ValueError: It is not.
        """
        folder = self._path(step)
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        if state["format"] != FORMAT:
            raise ValueError(f"its format is {state['format']}, not {FORMAT}")
        tensors = {}
        for name, mark in state["files"].items():
            if _mark(folder / name) != mark:
                raise ValueError(f"{name} is not as it was written")
            tensors[Path(name).stem] = load_file(folder / name)
        return Checkpoint(state["step"], state["state"], tensors)

    def steps(self) -> list[int]:
        """The steps after which there is a checkpoint, in order."""
        if not self.folder.is_dir():
            return []
        names = (re.fullmatch(r"step-(\d+)", path.name) for path in self.folder.iterdir())
        return sorted(int(name[1]) for name in names if name)

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"

    def _clear(self) -> None:
        for leaving in self.folder.glob(".*"):
            shutil.rmtree(leaving, ignore_errors=True)

    def _publish(self, partial: Path, step: int) -> None:
        # There may be one already, that could not be used: this run went on from an older one.
        hidden = self._hide(step) if self._path(step).exists() else None
        partial.rename(self._path(step))
        _force(self.folder)
        self._unusable.discard(step)
        if hidden is not None:
            shutil.rmtree(hidden, ignore_errors=True)

    def _drop(self, step: int) -> None:
        """Removes what is too old, and what could not be used."""
        steps = self.steps()
        old = [other for other in steps if other <= step and other not in self._unusable][: -self.keep]
        for other in set(old) | self._unusable & set(steps):
            shutil.rmtree(self._hide(other), ignore_errors=True)

    def _hide(self, step: int) -> Path:
        """Takes a checkpoint out of the list at once; removing its files takes longer and may be interrupted."""
        hidden = self.folder / f".old-{step}-{os.getpid()}"
        return self._path(step).rename(hidden)


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    folder.mkdir(parents=True)
    marks = {}
    for name, tensors in checkpoint.tensors.items():
        file = folder / f"{name}.safetensors"
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, file)
        _force(file)
        marks[file.name] = _mark(file)
    state = {"format": FORMAT, "step": checkpoint.step, "files": marks, "state": checkpoint.state}
    (folder / STATE).write_text(json.dumps(state), encoding="utf-8")
    for path in (folder / STATE, folder, folder.parent.parent):
        _force(path)


def _mark(file: Path) -> dict[str, int]:
    """Size and CRC-32: enough against cut-off files and failing disks, and faster than any disk."""
    checksum = 0
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return {"size": file.stat().st_size, "crc32": checksum}


def _force(path: Path) -> None:
    """Waits until the disk has a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
