"""What ends a training run besides bad input."""

from bai_sweep.records import UserError


class DivergenceError(UserError):
    """Training left the finite numbers; the message names the step and the quantity."""
