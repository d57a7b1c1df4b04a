"""Mathematical answers: where a response gives its own, and whether it is the reference answer of MATH or the AIME.

`prompt` asks a problem, `score_math` and `score_aime` score the responses to one; `extract_answer`, `equivalent` and
`aime_answer` are their parts. Expressions are compared by math-verify in a process with limits.
"""

from bai_sweep.scoring.mathematics._aime import aime_answer, majority_share
from bai_sweep.scoring.mathematics._equivalent import equivalent
from bai_sweep.scoring.mathematics._extract import extract_answer, extract_boxed
from bai_sweep.scoring.mathematics._score import (
    accuracy_at,
    prompt,
    reference_answer,
    score_aime,
    score_math,
    share_unanswered,
)

__all__ = [
    "accuracy_at",
    "aime_answer",
    "equivalent",
    "extract_answer",
    "extract_boxed",
    "majority_share",
    "prompt",
    "reference_answer",
    "score_aime",
    "score_math",
    "share_unanswered",
]
