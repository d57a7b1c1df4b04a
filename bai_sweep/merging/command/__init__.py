"""`python -m bai_sweep.merge`: arguments, dry run, progress, and what is said at the end.

Nothing here imports more than a merge needs: half of what a small merge takes is Python starting.
"""

from bai_sweep.merging.command._main import main

__all__ = ["main"]
