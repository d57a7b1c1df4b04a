"""Whether models can be merged, and whether they should.

`require_alike` raises one error with every fault; the `..._doubts` say what merges and may not work.
"""

from collections.abc import Mapping

from bai_sweep.merging._types import Member, Tensors
from bai_sweep.merging.compatibility._lineage import lineage_doubts
from bai_sweep.merging.compatibility._names import FLOATING, by_row, computed, depths_of, part_of
from bai_sweep.merging.compatibility._settings import function_doubts, layout_faults
from bai_sweep.merging.compatibility._tensors import copied_faults, rows_of, tensor_faults
from bai_sweep.merging.compatibility._tying import Tying, settings_of, tie
from bai_sweep.records import UserError

__all__ = [
    "FLOATING",
    "Tying",
    "by_row",
    "computed",
    "depths_of",
    "function_doubts",
    "lineage_doubts",
    "part_of",
    "require_alike",
    "rows_of",
    "settings_of",
    "tie",
]

_SHOWN = 30


def require_alike(members: Mapping[str, Member], tensors: Mapping[str, Tensors]) -> None:
    """All members are one architecture with the same tensors in the same shapes, the vocabulary's rows apart.

    Args:
        members: Compared with the first of them.
        tensors: Theirs, under the merge's names (`tie`).

    Raises:
        UserError: They are not; every fault is named, with tensors, members and both shapes.
    """
    faults = layout_faults(members) + tensor_faults(tensors) + copied_faults(members)
    if not faults:
        return
    shown = faults[:_SHOWN] + ([f"... and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else [])
    raise UserError(
        "the checkpoints do not fit together; a merge needs models of one architecture with the same tensors in the "
        "same shapes:\n" + "\n".join(f"  - {fault}" for fault in shown)
    )
