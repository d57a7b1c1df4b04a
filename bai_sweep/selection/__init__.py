"""Finished trials in, a recommendation out: who may win, who does, how surely, and what to run next.

`choose` names a point with its probability of being the best, every other one's reason, and the trials that would tell
more; `with_commands` writes these as shell commands; `check_selection` is asked before a study begins. `ineligible`
tells which trials may not win whatever the others do. docs/selection.md has the rule.
"""

from bai_sweep.records import Choice
from bai_sweep.selection._choose import choose
from bai_sweep.selection._draws import best_probabilities
from bai_sweep.selection._eligibility import ineligible
from bai_sweep.selection._next import with_commands
from bai_sweep.selection._references import check_selection

__all__ = ["Choice", "best_probabilities", "check_selection", "choose", "ineligible", "with_commands"]
