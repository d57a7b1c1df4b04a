"""How each benchmark is scored, as its authors score it: pure functions in a room each, free of torch and lm-eval.

evaluators/<benchmark>/ binds a room to lm-eval. What is here is shared by the rooms: an item's score, the mean over
items, and what a run provides (judge, sandbox, threads).
"""

from bai_sweep.scoring._item import Item, Pending, resolved, weighted_mean
from bai_sweep.scoring._resources import Resources, required_judge, resources, submit, using

__all__ = [
    "Item",
    "Pending",
    "Resources",
    "required_judge",
    "resolved",
    "resources",
    "submit",
    "using",
    "weighted_mean",
]
