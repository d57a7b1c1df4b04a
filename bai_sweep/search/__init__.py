"""Studies: a search space in Hydra's override grammar becomes trials that workers take from a shared queue.

`run_study` is what the Hydra sweeper calls; inside a trial, `current_trial` says which one is running. Nothing here
imports Optuna or torch before a study starts; `bai_sweep.search.control`, which steers studies from outside, does.
"""

from bai_sweep.search._context import RunningTrial, TrialOutcome, current_trial
from bai_sweep.search._plan import Plan, plan_study
from bai_sweep.search._sweep import run_study
from bai_sweep.search._threads import limit_threads, threads_per_worker

__all__ = [
    "Plan",
    "RunningTrial",
    "TrialOutcome",
    "current_trial",
    "limit_threads",
    "plan_study",
    "run_study",
    "threads_per_worker",
]
