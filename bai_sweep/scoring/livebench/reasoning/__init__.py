"""LiveBench's reasoning: zebra puzzles (in two forms, by the question's release), spatial questions, web of lies.

Each function scores an answer against its reference, from 0 to 1.
"""

from bai_sweep.scoring.livebench.reasoning._spatial import spatial
from bai_sweep.scoring.livebench.reasoning._web_of_lies import web_of_lies
from bai_sweep.scoring.livebench.reasoning._zebra import zebra, zebra_before_2024_11_25

__all__ = ["spatial", "web_of_lies", "zebra", "zebra_before_2024_11_25"]
