"""From a trial of a study to a model folder and a version in MLflow's model registry, and back to the version before.

`promote` merges a trial's actor at full precision, proves that it is the one that the trial started from, and points
an alias at it; `rollback` points the alias at what it pointed at before. What is promoted is the merge, as it was
before PPO.
"""

from bai_sweep.promotion._promote import Promoted, Request, promote
from bai_sweep.promotion._registry import RegistryError, Version
from bai_sweep.promotion._rollback import rollback
from bai_sweep.promotion._study import Study, read_study

__all__ = ["Promoted", "RegistryError", "Request", "Study", "Version", "promote", "read_study", "rollback"]
