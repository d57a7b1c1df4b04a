"""How sure a score is, and a difference of two scores: pure functions of per-item values.

A score is `sum_i w_i x_i / sum_i w_i` over items; items that were drawn together (a passage, a topic) are one cluster.
"""

from bai_sweep.statistics._errors import Clusters, grouped, influences, standard_error, weighted_score
from bai_sweep.statistics._multiplicity import holm
from bai_sweep.statistics._paired import Difference, paired_difference
from bai_sweep.statistics._subset import allocate, stratified_error

__all__ = [
    "Clusters",
    "Difference",
    "allocate",
    "grouped",
    "holm",
    "influences",
    "paired_difference",
    "standard_error",
    "stratified_error",
    "weighted_score",
]
