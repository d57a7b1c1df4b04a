"""MixEval-Hard (Psycoy/MixEval): 500 free-form and 500 multiple-choice questions drawn from other benchmarks.

`prompt` asks a `Question`; `score_by_judge` has an LLM read the response, as the official leaderboard does, and
`score_by_rules` reads it without one. The rest are figures over scored items.
"""

from bai_sweep.scoring.mixeval._figures import accuracy_of, share_unparsed
from bai_sweep.scoring.mixeval._judge_prompts import judge_messages
from bai_sweep.scoring.mixeval._judged import score_by_judge
from bai_sweep.scoring.mixeval._prompts import prompt
from bai_sweep.scoring.mixeval._question import Question, question_of
from bai_sweep.scoring.mixeval._rules import score_by_rules

__all__ = [
    "Question",
    "accuracy_of",
    "judge_messages",
    "prompt",
    "question_of",
    "score_by_judge",
    "score_by_rules",
    "share_unparsed",
]
