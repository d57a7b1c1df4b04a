"""LiveBench's data analysis: column type annotation, table join, table reformatting.

Each function scores an answer against its reference, from 0 to 1.
"""

from bai_sweep.scoring.livebench.data_analysis._cta import cta
from bai_sweep.scoring.livebench.data_analysis._tablejoin import tablejoin
from bai_sweep.scoring.livebench.data_analysis._tablereformat import tablereformat

__all__ = ["cta", "tablejoin", "tablereformat"]
