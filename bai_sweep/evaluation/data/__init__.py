"""Where the benchmarks' data is: a folder laid out as docs/evaluation.md says, or the hub.

`check` says what is wrong with a folder before anything expensive, `load` gives rows in one schema, `fetch` fills one.
"""

from bai_sweep.evaluation.data._check import check, describe
from bai_sweep.evaluation.data._fetch import fetch
from bai_sweep.evaluation.data._hub import hub_datasets, is_fetched
from bai_sweep.evaluation.data._load import load
from bai_sweep.evaluation.data._overrides import lm_eval_overrides
from bai_sweep.evaluation.data._places import BENCHMARKS, official_items
from bai_sweep.evaluation.data._types import DataVersion

__all__ = [
    "BENCHMARKS",
    "DataVersion",
    "check",
    "describe",
    "fetch",
    "hub_datasets",
    "is_fetched",
    "lm_eval_overrides",
    "load",
    "official_items",
]
