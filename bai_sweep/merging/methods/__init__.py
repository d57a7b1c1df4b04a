"""How the members' values become the merge's: one module for each method.

`method_of` reads an actor's configuration, `recipe_of` records it. A method sees blocks of float32 values and no file.
"""

from bai_sweep.merging.methods._arithmetic import stage_one
from bai_sweep.merging.methods._choose import method_of, recipe_of
from bai_sweep.merging.methods._dare import Dare
from bai_sweep.merging.methods._depth import Depth
from bai_sweep.merging.methods._linear import Linear
from bai_sweep.merging.methods._slerp import Slerp
from bai_sweep.merging.methods._task_arithmetic import TaskArithmetic
from bai_sweep.merging.methods._ties import Ties
from bai_sweep.merging.methods._two_save import TwoSave

__all__ = [
    "Dare",
    "Depth",
    "Linear",
    "Slerp",
    "TaskArithmetic",
    "Ties",
    "TwoSave",
    "method_of",
    "recipe_of",
    "stage_one",
]
