"""Stage 1 held in shared memory, and one interpolation with the base into live parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

import numpy as np

from bai_sweep.merging._engine import run
from bai_sweep.merging._types import Block, Method, TensorInfo, Tensors, TensorSpec, Values
from bai_sweep.merging.live._shared import Shared, obtain
from bai_sweep.merging.live._sink import HeldSink, LiveSink, Target, offsets_of
from bai_sweep.merging.methods._arithmetic import interpolate
from bai_sweep.merging.methods._linear import Linear

if TYPE_CHECKING:
    from torch.nn import Module

Share = float | Callable[[TensorInfo], float]
"""The base's share: one for all tensors, or each tensor's."""

BASE, STAGE_1 = "base", "stage 1"
_BLOCK = 65536
"""Two blocks of float32 beside each other stay in a core's second-level cache."""


@final
class Stage1:
    """The base as its own files, which the kernel keeps once for all, and stage 1 in float32, shared by processes.

    An interpolation equals the merge from files bit for bit: both do the same operations in the same order.
    """

    def __init__(self, tensors: tuple[TensorInfo, ...], base: Tensors, shared: Shared) -> None:
        """Takes over a filled file."""
        self._tensors = tensors
        self._base = base
        self._shared = shared

    @classmethod
    def hold(
        cls,
        name: str,
        tensors: tuple[TensorInfo, ...],
        values: Mapping[str, Tensors],
        weights: Mapping[str, float],
        *,
        threads: int,
        make: bool = True,
    ) -> Stage1 | None:
        """Merges stage 1 into shared memory, or takes what another process has put there.

        Args:
            name: Says what is merged: the same name is the same stage 1.
            tensors: Of the merge.
            values: Those of the base, and of the SFT models.
            weights: Of the SFT models.
            threads: How many work.
            make: Whether to merge it if it is not there.

        Returns:
            None where it cannot be held, see `obtain`.

        Raises:
            UserError: A member cannot be read, or stage 1 is not finite.
        """
        offsets = offsets_of(tensors)

        def fill(descriptor: int) -> None:
            run(tensors, values, Linear(0.0, weights), HeldSink(descriptor, offsets), threads=threads)

        size = 4 * max((offsets[t.name] + t.size for t in tensors), default=0)
        shared = obtain(name, size, fill if make else None) if size else None
        return None if shared is None else cls(tensors, values[BASE], shared)

    def interpolate(self, alpha: Share, model: Module, *, threads: int | None = None) -> None:
        """`alpha * base + (1 - alpha) * stage 1` into the parameters of a model whose tensors have the merge's names.

        Args:
            alpha: The base's share.
            model: On the CPU.
            threads: As many as torch has where None.

        Raises:
            UserError: The merge is not finite in a parameter's dtype.
        """
        import torch

        from bai_sweep.merging.live._targets import targets_of

        targets = targets_of(model.state_dict(), self._tensors)
        self.write(alpha, targets, threads=threads or torch.get_num_threads())

    def write(self, alpha: Share, targets: Mapping[str, Target], *, threads: int) -> None:
        """The same into memory of any kind."""
        held = _Held(self._tensors, self._shared.values())
        values: dict[str, Tensors] = {BASE: self._base, STAGE_1: held}
        method = _Interpolation(alpha, held, targets)
        run(self._tensors, values, method, LiveSink(targets), threads=threads, block=_BLOCK)

    def close(self) -> None:
        """Ends this process's use of the shared memory; the last user frees it."""
        self._shared.release()


class _Held:
    """Stage 1 as a member's tensors."""

    def __init__(self, tensors: tuple[TensorInfo, ...], values: Values) -> None:
        offsets = offsets_of(tensors)
        self._values = {t.name: values[offsets[t.name] : offsets[t.name] + t.size] for t in tensors}
        self.specs: Mapping[str, TensorSpec] = MappingProxyType({t.name: TensorSpec(t.shape, "F32") for t in tensors})

    def view(self, name: str, start: int, size: int) -> Values:
        """Elements where they stand."""
        return self._values[name][start : start + size]

    def read(self, name: str, start: int, into: Values) -> None:
        """As `Tensors.read`."""
        np.copyto(into, self.view(name, start, into.size))


class _Interpolation(Method):
    """Reads stage 1 where it stands and, if the targets are float32, writes where they stand: a copy less of each."""

    def __init__(self, alpha: Share, held: _Held, targets: Mapping[str, Target]) -> None:
        self._alpha = alpha
        self._held = held
        self._targets = targets

    @property
    def members(self) -> tuple[str, ...]:
        return (BASE, STAGE_1)

    def combine(self, block: Block, survey: Any) -> Values:
        del survey
        name, start, size = block.tensor.name, block.start, block.size
        alpha = self._alpha(block.tensor) if callable(self._alpha) else self._alpha
        target = self._targets[name]
        out: Values = target.memory[start : start + size] if target.dtype == "F32" else block.room(1)
        stage1 = self._held.view(name, start, size)
        base = block.read(BASE, 0) if alpha != 0.0 else stage1
        return interpolate(base, stage1, alpha, out, base)
