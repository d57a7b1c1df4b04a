"""Finished trials in, a recommendation out: who may win, who does, and how surely.

`choose` names the eligible trial with the best overall score and its probability of being the best.
"""

from bai_sweep.records import Choice
from bai_sweep.selection._bootstrap import best_probabilities, overall_draws
from bai_sweep.selection._choose import choose
from bai_sweep.selection._eligibility import ineligible

__all__ = ["Choice", "best_probabilities", "choose", "ineligible", "overall_draws"]
