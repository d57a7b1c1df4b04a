"""LiveBench's language: connections (in two forms, by the question's release), typos, plot unscrambling.

Each function scores an answer against its reference, from 0 to 1.
"""

from bai_sweep.scoring.livebench.language._connections import connections, connections_before_2024_11_25
from bai_sweep.scoring.livebench.language._plot import plot_unscrambling
from bai_sweep.scoring.livebench.language._typos import typos

__all__ = ["connections", "connections_before_2024_11_25", "plot_unscrambling", "typos"]
