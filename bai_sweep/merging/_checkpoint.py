"""Reading safetensors checkpoints, one tensor at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from safetensors import safe_open

from bai_sweep.records import UserError
from bai_sweep.sources import resolve

_INDEX = "model.safetensors.index.json"
_PATTERNS = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")


class Checkpoint:
    """The tensors of one model folder, sharded or not, memory-mapped and opened on first use."""

    def __init__(self, source: str) -> None:
        """Finds the files of `source` (a folder, `testbed://...` or a hub id, which is downloaded).

        Raises:
            UserError: the folder has no safetensors file.
        """
        self.source = source
        self.folder = _folder_of(source)
        self._files = _files_by_tensor(self.folder, source)
        self._stack = ExitStack()
        self._open: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        self._open.clear()

    def names(self) -> set[str]:
        """The names of all tensors."""
        return set(self._files)

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, from the header."""
        return tuple(self._handle(name).get_slice(name).get_shape())

    def tensor(self, name: str) -> torch.Tensor:
        """A tensor as stored, on the CPU."""
        tensor: torch.Tensor = self._handle(name).get_tensor(name)
        return tensor

    def _handle(self, name: str) -> Any:
        file = self._files[name]
        if file not in self._open:
            self._open[file] = self._stack.enter_context(safe_open(self.folder / file, framework="pt"))
        return self._open[file]


def _folder_of(source: str) -> Path:
    name, revision = resolve(source)
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, revision=revision, allow_patterns=list(_PATTERNS)))


def _files_by_tensor(folder: Path, source: str) -> Mapping[str, str]:
    if (folder / _INDEX).is_file():
        index: dict[str, str] = json.loads((folder / _INDEX).read_text(encoding="utf-8"))["weight_map"]
        absent = sorted({file for file in index.values() if not (folder / file).is_file()})
        if absent:
            raise UserError(
                f"{source}: its index names shards that are not there: {', '.join(absent)}; fetch them again"
            )
        return index
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UserError(
            f"{source}: weights are read from *.safetensors only, and there are none in {folder}; "
            "load the model once with transformers and save it with save_pretrained"
        )
    names: dict[str, str] = {}
    for file in files:
        with safe_open(file, framework="pt") as handle:
            names.update(dict.fromkeys(handle.keys(), file.name))
    return names
