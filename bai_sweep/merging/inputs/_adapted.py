"""The tensors of a base with a LoRA adapter added, read in pieces like any model's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from bai_sweep.merging._types import TensorSpec, Values
from bai_sweep.merging.inputs._adapter import LoraSettings
from bai_sweep.merging.inputs._checkpoint import Checkpoint
from bai_sweep.merging.inputs._fitting import EMBEDDINGS, Delta, Fitting
from bai_sweep.merging.inputs._header import FLOATS
from bai_sweep.merging.inputs._lora import Factors, Matrix, Products


class Adapted:
    """A `Tensors`: what the base is with the adapter on it.

    The base is widened to float32 and the adapter's product is added in float32. Where embedding and head are one
    tensor of the base and the adapter changes one of them, or both apart, the result has two, as the adapted model
    had while it was trained. (PEFT's `merge_and_unload` adds the LoRA of one to both.)

    Args:
        base: Open as long as this is read.
        adapter: Likewise.
        settings: The adapter's.
        source: The adapter, for messages.

    Raises:
        UserError: The adapter does not fit the base, or holds something else than a LoRA.
    """

    def __init__(self, base: Checkpoint, adapter: Checkpoint, settings: LoraSettings, source: str) -> None:
        self._base, self._adapter = base, adapter
        self._products = Products()
        self._tensors, self._unties = Fitting(base, adapter, settings, source).tensors()
        self.specs: Mapping[str, TensorSpec] = MappingProxyType({n: t.spec for n, t in self._tensors.items()})

    @property
    def other(self) -> Mapping[str, TensorSpec]:
        """Those of `specs` that hold no floating numbers, as in `Checkpoint.other`."""
        return {name: spec for name, spec in self.specs.items() if spec.dtype not in FLOATS}

    def read(self, name: str, start: int, into: Values) -> None:
        """Fills `into` with the elements from `start` on; an element does not depend on where a run begins.

        Raises:
            UserError: A file cannot be read, or ends early.
        """
        tensor = self._tensors[name]
        tensor.holder.read(tensor.name, start, into)
        delta = tensor.delta
        if delta is not None:
            self._products.add(self._products.factors(name, lambda: self._factors(delta)), start, into)

    def raw(self, name: str) -> bytes:
        """A tensor's bytes as they are in the file, as in `Checkpoint.raw`: of those in `other`."""
        tensor = self._tensors[name]
        return tensor.holder.raw(tensor.name)

    def changed(self) -> Path | None:
        """A file of the base or the adapter that changed since it was opened, as in `Checkpoint.changed`."""
        return self._base.changed() or self._adapter.changed()

    def config(self, base: Mapping[str, Any]) -> dict[str, Any]:
        """The base's config.json, with this model's tie and its vocabulary's size."""
        found = dict(base)
        if self._unties:
            found["tie_word_embeddings"] = False
            nested = found.get("text_config")
            if isinstance(nested, Mapping) and "tie_word_embeddings" in nested:  # it would hold otherwise
                found["text_config"] = {**nested, "tie_word_embeddings": False}
        replaced = (t for n, t in self._tensors.items() if n.endswith(EMBEDDINGS) and t.holder is self._adapter)
        if (embedding := next(replaced, None)) and "vocab_size" in found:
            found["vocab_size"] = embedding.spec.shape[0]
        return found

    def _factors(self, delta: Delta) -> Factors:
        a, b = _matrix(self._adapter, delta.a), _matrix(self._adapter, delta.b)
        left, right = (a.T, b.T) if delta.transposed else (b, a)
        return Factors(np.ascontiguousarray(left * np.float32(delta.scale)), np.ascontiguousarray(right))


def _matrix(holder: Checkpoint, name: str) -> Matrix:
    values = np.empty(holder.specs[name].size, np.float32)
    holder.read(name, 0, values)
    return values.reshape(holder.specs[name].shape)
