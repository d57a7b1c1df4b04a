"""A plan before the spend: what a study takes in steps, tokens, time, memory and disk, and what pruners would save.

`calibrate` runs a few steps of one point and measures; `describe` makes the plan, of what was measured or else of the
models' sizes, each number with where it comes from; `render` shows it.
"""

from bai_sweep.planning._assumptions import Assumptions
from bai_sweep.planning._calibrate import CalibrationError, calibrate
from bai_sweep.planning._calibration import Calibration, MeasuredBenchmark
from bai_sweep.planning._figures import Figure
from bai_sweep.planning._plan import StudyPlan, describe
from bai_sweep.planning._pruners import Saving
from bai_sweep.planning._render import render
from bai_sweep.planning._savings import Ending

__all__ = [
    "Assumptions",
    "Calibration",
    "CalibrationError",
    "Ending",
    "Figure",
    "MeasuredBenchmark",
    "Saving",
    "StudyPlan",
    "calibrate",
    "describe",
    "render",
]
