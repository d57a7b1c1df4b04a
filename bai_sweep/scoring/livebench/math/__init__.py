"""LiveBench's mathematics: AMPS_Hard (symbolic equality), competitions (letters and integers), olympiads (order).

`symbolic`, `multiple_choice`, `integer` and `olympiad` score an answer; `equivalent` compares two LaTeX expressions.
"""

from bai_sweep.scoring.livebench.math._amps import symbolic
from bai_sweep.scoring.livebench.math._competitions import integer, multiple_choice
from bai_sweep.scoring.livebench.math._equivalence import equivalent
from bai_sweep.scoring.livebench.math._olympiad import olympiad

__all__ = ["equivalent", "integer", "multiple_choice", "olympiad", "symbolic"]
