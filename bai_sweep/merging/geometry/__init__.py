"""How models lie to each other: distances, angles, task vectors and their conflicts, layer by layer.

`Geometry` looks on while a merge runs and keeps sums only; `draw` makes a figure of its summary.
"""

from bai_sweep.merging.geometry._figure import draw
from bai_sweep.merging.geometry._geometry import MERGE, Geometry
from bai_sweep.merging.geometry._runs import RUN

__all__ = ["MERGE", "RUN", "Geometry", "draw"]
