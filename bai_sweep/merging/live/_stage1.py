"""The base and its way to stage 1, held in shared memory, and one interpolation into live parameters."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from bai_sweep.merging._engine import run
from bai_sweep.merging._types import TensorInfo, Tensors
from bai_sweep.merging.live._shared import Shared, obtain
from bai_sweep.merging.live._sink import HeldSink, Target, offsets_of
from bai_sweep.merging.live._way import Share, ToStage1, share_of
from bai_sweep.merging.methods import Linear

if TYPE_CHECKING:
    from torch.nn import Module


@final
@dataclass(frozen=True)
class Stage1:
    """The base and `stage 1 - base`, both in float32, in one file that processes share.

    It serves shares between 0 and 1: stage 1 itself, and the base, are merged from files.

    An interpolation equals a merge of the same members by `OnTheWay` bit for bit: the last operation is the same.
    """

    tensors: tuple[TensorInfo, ...]
    shared: Shared

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
        """Puts both into shared memory, or takes what another process has put there.

        Args:
            name: Says what is merged: the same name is the same content.
            tensors: Of the merge.
            values: Those of the base, and of the SFT models.
            weights: Of the SFT models.
            threads: How many work.
            make: Whether to make what is not there yet.

        Returns:
            None where it cannot be held, see `obtain`, or is not there.

        Raises:
            UserError: A member cannot be read, or stage 1 is not finite.
        """
        offsets = offsets_of(tensors)
        half = _half(tensors)

        def fill(descriptor: int) -> None:
            run(tensors, values, Linear(1.0, weights), HeldSink(descriptor, offsets), threads=threads)
            beyond = {name: half + offset for name, offset in offsets.items()}
            run(tensors, values, ToStage1(weights), HeldSink(descriptor, beyond), threads=threads)

        shared = obtain(name, 4 * 2 * half, fill if make else None) if half else None
        return None if shared is None else cls(tensors, shared)

    def interpolate(self, alpha: Share, model: Module) -> None:
        """`base + (1 - alpha) * (stage 1 - base)` into the parameters that have the names of the merge's tensors.

        Args:
            alpha: The base's share.
            model: On the CPU.

        Raises:
            UserError: The merge is too large for a parameter's dtype.
        """
        from bai_sweep.merging.live._targets import targets_of

        self.write(alpha, targets_of(model.state_dict(), self.tensors), self.tensors)

    def write(self, alpha: Share, targets: Mapping[str, Target], tensors: Iterable[TensorInfo]) -> None:
        """The same into memory of any kind, for some of the tensors; torch's threads go through what is held once."""
        import torch

        from bai_sweep.merging.live._kernel import go_all

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nor is it written to
            held = torch.from_numpy(self.shared.values())
        base, way = held.chunk(2)
        offsets = offsets_of(self.tensors)
        for tensor in tensors:
            here = slice(offsets[tensor.name], offsets[tensor.name] + tensor.size)
            go_all(tensor.name, base[here], way[here], share_of(alpha, tensor), targets[tensor.name])

    def close(self) -> None:
        """Ends this process's use of the shared memory; the last user frees it."""
        self.shared.release()


def _half(tensors: tuple[TensorInfo, ...]) -> int:
    """Elements of all tensors, each from a cache line on."""
    if not tensors:
        return 0
    last = tensors[-1]
    return -(-(offsets_of(tensors)[last.name] + last.size) // 16) * 16
