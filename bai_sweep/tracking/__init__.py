"""Where a study's runs are reported: MLflow, or nowhere; a local journal is kept either way.

`open_tracker` gives the tracker a configuration asks for. Whatever a trial logs is first a line of `journal.jsonl`
in its folder and only then sent, so that an outage of MLflow neither stops a trial nor loses a number; what could
not be sent is sent later by `python -m bai_sweep.tracking sync <folder>`.
"""

from bai_sweep.tracking._environment import environment
from bai_sweep.tracking._finished import finished_trials
from bai_sweep.tracking._masking import mask_text, masked
from bai_sweep.tracking._notes import study_note, trial_note
from bai_sweep.tracking._open import open_tracker
from bai_sweep.tracking._parameters import config_yaml, flatten
from bai_sweep.tracking._protocol import Status, Tracker, TrialRun
from bai_sweep.tracking._run import tags_of
from bai_sweep.tracking._setup import log_setup
from bai_sweep.tracking._store import absolute, ensure_experiment, import_mlflow, is_server, open_client
from bai_sweep.tracking._sync import settle, sync, unsent
from bai_sweep.tracking._telemetry import read_telemetry
from bai_sweep.tracking._ui import newest_study_url, study_url, ui_command
from bai_sweep.tracking._view import study_view, swept_columns

__all__ = [
    "Status",
    "Tracker",
    "TrialRun",
    "absolute",
    "config_yaml",
    "ensure_experiment",
    "environment",
    "finished_trials",
    "flatten",
    "import_mlflow",
    "is_server",
    "log_setup",
    "mask_text",
    "masked",
    "newest_study_url",
    "open_client",
    "open_tracker",
    "read_telemetry",
    "settle",
    "study_note",
    "study_url",
    "study_view",
    "swept_columns",
    "sync",
    "tags_of",
    "trial_note",
    "ui_command",
    "unsent",
]
