"""LiveBench's official scoring: `score` for a response whose text decides, `livebench.coding` for one that is run.

`select` gives a release's questions, `aggregate` the benchmark's score from its items', `TASKS` what there is.
"""

from bai_sweep.scoring.livebench._release import aggregate, select
from bai_sweep.scoring.livebench._tasks import TASKS, score

__all__ = ["TASKS", "aggregate", "score", "select"]
