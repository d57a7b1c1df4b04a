"""Where a study stands, live: trials write small files, the study's process shows them.

Reading files only, the display is the same for a trial in this process, in a worker beside it, or on another machine.
"""

from bai_sweep.progress._display import StudyDisplay, TrialDisplay
from bai_sweep.progress._file import Progress, ProgressFile, read_progress
from bai_sweep.progress._table import clock

__all__ = ["Progress", "ProgressFile", "StudyDisplay", "TrialDisplay", "clock", "read_progress"]
