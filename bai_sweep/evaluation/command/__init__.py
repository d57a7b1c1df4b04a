"""`python -m bai_sweep.evaluation run|check|fetch|compare`: a model's scores without a study."""

from bai_sweep.evaluation.command._compare import Comparison, compared
from bai_sweep.evaluation.command._main import main
from bai_sweep.evaluation.command._run import evaluate_checkpoint
from bai_sweep.evaluation.command._settings import RunSettings, settings_of

__all__ = ["Comparison", "RunSettings", "compared", "evaluate_checkpoint", "main", "settings_of"]
