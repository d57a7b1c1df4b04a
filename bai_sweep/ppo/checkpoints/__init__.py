"""What is kept of a run: checkpoints to go on from, and the batch at which a run diverged."""

from bai_sweep.ppo.checkpoints._checkpoint import Checkpoint, Checkpoints
from bai_sweep.ppo.checkpoints._fingerprint import check_fingerprint, fingerprint
from bai_sweep.ppo.checkpoints._postmortem import Evidence, keep_evidence
from bai_sweep.ppo.checkpoints._state import (
    States,
    by_name,
    by_parameter,
    generator_state,
    global_random_state,
    load_generator_state,
    load_global_random_state,
    load_optimizer_state,
    load_trained_weights,
    optimizer_state,
    trained_weights,
)

__all__ = [
    "Checkpoint",
    "Checkpoints",
    "Evidence",
    "States",
    "by_name",
    "by_parameter",
    "check_fingerprint",
    "fingerprint",
    "generator_state",
    "global_random_state",
    "keep_evidence",
    "load_generator_state",
    "load_global_random_state",
    "load_optimizer_state",
    "load_trained_weights",
    "optimizer_state",
    "trained_weights",
]
