"""Runs programs that a model wrote, which are taken to be hostile, apart from this process and this host.

`open_sandbox` picks the strongest isolation that the host offers and refuses where it offers none; `Sandbox.run` runs
one program under `Limits` and says how it ended in an `Outcome`.
"""

from bai_sweep.sandbox._open import LEVELS, open_sandbox
from bai_sweep.sandbox._records import Limits, Outcome, Status
from bai_sweep.sandbox._run import SetupError
from bai_sweep.sandbox._sandbox import Sandbox

__all__ = ["LEVELS", "Limits", "Outcome", "Sandbox", "SetupError", "Status", "open_sandbox"]
