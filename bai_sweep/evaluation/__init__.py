"""Model -> EvalReport: lm-eval in-process on the live actor, no checkpoint written and no second process.

`check` says before any expensive work whether every benchmark can run, `size_of` how many items one has; `evaluate`
runs them.
"""

from bai_sweep.evaluation._availability import check
from bai_sweep.evaluation._evaluate import BenchmarkError, evaluate
from bai_sweep.evaluation._size import BenchmarkSize, size_of

__all__ = ["BenchmarkError", "BenchmarkSize", "check", "evaluate", "size_of"]
