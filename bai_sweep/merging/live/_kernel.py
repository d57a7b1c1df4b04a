"""torch's part of the arithmetic in `_way`."""

from __future__ import annotations

import torch
from torch import Tensor

from bai_sweep.merging._dtypes import ENDS
from bai_sweep.merging._types import Values
from bai_sweep.merging.live._sink import Target, too_large

_ALONE = 32768
"""Elements up to which torch works in the calling thread, whatever its number of threads: ATen's grain size."""

_ROOM = 1 << 20
"""Elements rounded at a time where the target is not float32."""


def go(base: Values, way: Values, share: float, out: Values) -> None:
    """`out = base + (1 - share) * way` in the calling thread.

    Args:
        base: The base's values.
        way: `stage 1 - base`.
        share: The base's.
        out: As many elements; it may be `base`.
    """
    start, step, result = torch.from_numpy(base), torch.from_numpy(way), torch.from_numpy(out)
    for first in range(0, out.size, _ALONE):
        here = slice(first, first + _ALONE)
        torch.add(start[here], step[here], alpha=1.0 - share, out=result[here])


def go_all(name: str, base: Tensor, way: Tensor, share: float, target: Target) -> None:
    """The same for a whole tensor into a target, with torch's threads.

    Args:
        name: The tensor's.
        base: The base's values, float32, flat.
        way: `stage 1 - base`.
        share: The base's, below 1.
        target: Where the result goes, rounded to its dtype.

    Raises:
        UserError: The merge is too large for the target's dtype.
    """
    memory = torch.from_numpy(target.memory)
    result = memory.view(torch.bfloat16) if target.dtype == "BF16" else memory
    if target.dtype == "F32":
        torch.add(base, way, alpha=1.0 - share, out=result)
    elif not _rounded(base, way, share, result, ENDS[target.dtype]):
        raise too_large(name, target.dtype)


def _rounded(base: Tensor, way: Tensor, share: float, result: Tensor, end: float) -> bool:
    """Rounds the merge to the result's dtype; whether every magnitude is below `end`, and so finite there."""
    room = torch.empty(min(_ROOM, base.numel()))
    for first in range(0, base.numel(), _ROOM):
        here = slice(first, min(first + _ROOM, base.numel()))
        part = torch.add(base[here], way[here], alpha=1.0 - share, out=room[: here.stop - here.start])
        least, most = part.aminmax()
        if not (-end < least and most < end):
            return False
        result[here].copy_(part)
    return True
