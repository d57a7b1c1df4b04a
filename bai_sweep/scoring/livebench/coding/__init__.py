"""LiveBench's coding: LCB_generation and coding_completion, one point where a program passes all its tests.

`score` runs an answer in a sandbox and compares what it gave, outside of it, with what was expected; `solution` is
the program that is run.
"""

from bai_sweep.scoring.livebench.coding._extract import extract_code, solution
from bai_sweep.scoring.livebench.coding._score import score

__all__ = ["extract_code", "score", "solution"]
