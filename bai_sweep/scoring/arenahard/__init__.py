"""ArenaHard (lmarena/arena-hard-auto), v0.1 and v2.0: open answers judged against a baseline's, in both orders.

`play` has a judge compare two answers and gives the question's `Item`; the other functions make figures of many. What
the two versions do differently is in `V01` and `V2`.
"""

from bai_sweep.scoring.arenahard._agreement import agreement_rate, cohens_kappa, wilson_interval
from bai_sweep.scoring.arenahard._battles import battles_of, item_of
from bai_sweep.scoring.arenahard._bootstrap import bootstrap_means, bootstrap_ratings
from bai_sweep.scoring.arenahard._bradley_terry import Battles, ratings, win_rate
from bai_sweep.scoring.arenahard._control import Estimate, controlled_win_rates, standardised, style_difference
from bai_sweep.scoring.arenahard._figures import (
    bootstrap_win_rate,
    bt_win_rate,
    judge_contradiction,
    judge_disagreement,
    judge_kappa,
    null_verdicts,
    position_bias,
    position_bias_limit,
    style_controlled,
    win_rate_limit,
)
from bai_sweep.scoring.arenahard._games import play
from bai_sweep.scoring.arenahard._prompts import judge_messages
from bai_sweep.scoring.arenahard._protocol import V01, V2, Protocol
from bai_sweep.scoring.arenahard._questions import answer_of, documents
from bai_sweep.scoring.arenahard._style import Style, style_of
from bai_sweep.scoring.arenahard._tokens import approximate_tokens, token_counter
from bai_sweep.scoring.arenahard._verdicts import Reading, read_v01, read_v2

__all__ = [
    "V01",
    "V2",
    "Battles",
    "Estimate",
    "Protocol",
    "Reading",
    "Style",
    "agreement_rate",
    "answer_of",
    "approximate_tokens",
    "battles_of",
    "bootstrap_means",
    "bootstrap_ratings",
    "bootstrap_win_rate",
    "bt_win_rate",
    "cohens_kappa",
    "controlled_win_rates",
    "documents",
    "item_of",
    "judge_contradiction",
    "judge_disagreement",
    "judge_kappa",
    "judge_messages",
    "null_verdicts",
    "play",
    "position_bias",
    "position_bias_limit",
    "ratings",
    "read_v01",
    "read_v2",
    "standardised",
    "style_controlled",
    "style_difference",
    "style_of",
    "token_counter",
    "wilson_interval",
    "win_rate",
    "win_rate_limit",
]
