"""A study as others see and steer it: through its storage, wherever its workers are."""

from bai_sweep.search._invitation import FOLDER, NEEDED, OVERRIDES
from bai_sweep.search._state import Best, StudyState, add_points, read_state, request_stop, take_stop_back
from bai_sweep.search._storage import JOURNAL, StorageAddress
from bai_sweep.search._study import load

__all__ = [
    "FOLDER",
    "JOURNAL",
    "NEEDED",
    "OVERRIDES",
    "Best",
    "StorageAddress",
    "StudyState",
    "add_points",
    "load",
    "read_state",
    "request_stop",
    "take_stop_back",
]
