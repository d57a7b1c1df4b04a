"""Model -> EvalReport: lm-eval in-process on the live actor, no checkpoint written and no second process.

`check` says before any expensive work whether every benchmark can run; `evaluate` runs them.
"""

from bai_sweep.evaluation._availability import check
from bai_sweep.evaluation._evaluate import BenchmarkError, evaluate

__all__ = ["BenchmarkError", "check", "evaluate"]
