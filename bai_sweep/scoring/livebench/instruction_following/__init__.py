"""LiveBench's instruction following: paraphrase, simplify, story_generation and summarize, scored strictly.

`score` gives an answer's points, `followed` the verdict on each instruction; both need nothing but the standard
library.
"""

from bai_sweep.scoring.livebench.instruction_following._score import followed, score

__all__ = ["followed", "score"]
