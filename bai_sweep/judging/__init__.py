"""Judges that read responses: an OpenAI-compatible endpoint, a local model, a recording; none is loaded before use.

Every reply is kept by the content of its request, so nothing is paid twice, and a budget ends the asking before it is
overdrawn. `check_judge` finds faults before any expensive work, `open_judge` opens what the configuration says.
"""

from bai_sweep.judging._open import check_judge, name_of, open_judge
from bai_sweep.judging._records import BudgetError, Judge, JudgeError, Message, OnProgress, Reply, Spending

__all__ = [
    "BudgetError",
    "Judge",
    "JudgeError",
    "Message",
    "OnProgress",
    "Reply",
    "Spending",
    "check_judge",
    "name_of",
    "open_judge",
]
