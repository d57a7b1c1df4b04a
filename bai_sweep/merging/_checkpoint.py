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
_WHOLE = "model.safetensors"
_SETTINGS = ("*.json", "*.model", "*.txt", "*.jinja")
# buffers that checkpoints of old versions of transformers hold and every version computes
_COMPUTED = ("rotary_emb.inv_freq",)


class Checkpoint:
    """The tensors of one model folder, sharded or not, memory-mapped and opened on first use."""

    def __init__(self, source: str) -> None:
        """Finds the files of `source` (a folder, `testbed://...` or a hub id, which is downloaded).

        Raises:
            UserError: the folder has no safetensors file.
        """
        self.source = source
        self.folder = folder_of(source)
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


def folder_of(source: str, *, weights: bool = True) -> Path:
    """The local folder of a model; a hub id is downloaded, without `weights` its settings and tokenizer only."""
    name, revision = resolve(source)
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download

    patterns = [*_SETTINGS, *(["*.safetensors"] if weights else [])]
    return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))


def _files_by_tensor(folder: Path, source: str) -> Mapping[str, str]:
    if (folder / _INDEX).is_file():
        index: dict[str, str] = json.loads((folder / _INDEX).read_text(encoding="utf-8"))["weight_map"]
        absent = sorted({file for file in index.values() if not (folder / file).is_file()})
        if absent:
            raise UserError(
                f"{source}: its index names shards that are not there: {', '.join(absent)}; get them again"
            )
        return _stored(index)
    files = [folder / _WHOLE] if (folder / _WHOLE).is_file() else sorted(folder.glob("*.safetensors"))
    if not files:
        raise UserError(
            f"{source}: weights are read from *.safetensors only, and there are none in {folder}; "
            "load the model once with transformers and save it with save_pretrained"
        )
    names: dict[str, str] = {}
    for file in files:
        with safe_open(file, framework="pt") as handle:
            names.update(dict.fromkeys(handle.keys(), file.name))
    return _stored(names)


def _stored(names: Mapping[str, str]) -> dict[str, str]:
    return {name: file for name, file in names.items() if not name.endswith(_COMPUTED)}
