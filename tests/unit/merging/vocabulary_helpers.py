"""Tokenizer folders of a few tokens, and models whose every row says whose it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bai_sweep.merging._types import Tensors, TensorSpec, Values

EMBEDDING = "model.embed_tokens.weight"


class Held:
    """A model's tensors in memory; `reads` counts the reads."""

    def __init__(self, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        self.specs = {name: TensorSpec(array.shape, "F32") for name, array in arrays.items()}
        self.reads = 0
        self._flat = {name: array.reshape(-1) for name, array in arrays.items()}

    def read(self, name: str, start: int, into: Values) -> None:
        assert 0 <= start <= start + len(into) <= self._flat[name].size
        self.reads += 1
        into[:] = self._flat[name][start : start + len(into)]


def save_tokenizer(
    folder: Path, ids: Mapping[str, int], added: Mapping[str, int] | None = None, *, kind: str = "BPE", **more: Any
) -> Path:
    """A tokenizer.json with `ids` for its model's vocabulary and `added` tokens, which are special."""
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    entries = [{"id": i, "content": t, **plain} for t, i in (added or {}).items()]
    content = {"version": "1.0", "added_tokens": entries, "model": {"type": kind, "vocab": dict(ids), "merges": []}}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps({**content, **more}), encoding="utf-8")
    return folder


def embedding(model: int, rows: int, width: int = 3) -> NDArray[np.float32]:
    """Row r of model m holds 1000 m + r, and its columns differ."""
    values = 1000.0 * model + np.arange(rows, dtype=np.float32)[:, None] + np.arange(width, dtype=np.float32) / 8
    return values.astype(np.float32)


def whole(tensors: Tensors, name: str = EMBEDDING, block: int | None = None) -> NDArray[np.float32]:
    """A tensor, read in blocks."""
    shape = tensors.specs[name].shape
    flat = np.full(int(np.prod(shape)), np.nan, dtype=np.float32)
    step = block or flat.size
    for start in range(0, flat.size, step):
        tensors.read(name, start, flat[start : start + step])
    return flat.reshape(shape)
