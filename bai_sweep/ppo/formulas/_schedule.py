"""Learning rates over the steps of a run."""

from __future__ import annotations

import math

from bai_sweep.config import TrainingSettings


def learning_rate_factor(settings: TrainingSettings, step: int, steps: int) -> float:
    """What the learning rate is multiplied with at a step, counted from 1; a function of the step alone.

    Linear warm-up over `lr_warmup_steps` steps, then constant, or linear or cosine decay to 0 after the last.
    """
    warmup = settings.lr_warmup_steps
    if step <= warmup:
        return max(step, 0) / (warmup + 1)
    if settings.lr_schedule == "constant":
        return 1.0
    done = (step - warmup - 1) / max(1, steps - warmup)
    return 1.0 - done if settings.lr_schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
