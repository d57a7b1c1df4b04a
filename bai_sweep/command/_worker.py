"""`worker`: a process of any machine works for a study that runs elsewhere, and may leave at any time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from bai_sweep.command._find import KEYS, find, parse_arguments
from bai_sweep.records import UserError
from bai_sweep.search.control import NEEDED, OVERRIDES

# What is this machine's own affair; anything else would make another study of it.
_OWN = ("device", "threads", "workers", "tracking.uri", "tracking.artifacts", "evaluation.data_dir")


def worker(arguments: Sequence[str], hydra_main: Callable[[], object]) -> None:
    """Joins a study: the command that began it is composed here once more, and its queue is worked off.

    Raises:
        UserError: there is no such study, or it does not say how it was begun.
    """
    given = parse_arguments(arguments, (*KEYS, *_OWN))
    found = find(given)
    overrides = found.study.user_attrs.get(OVERRIDES)
    if overrides is None:
        raise UserError(
            f"study {found.study.study_name} does not say how it was begun: its command has not come so far yet, or "
            "was of an earlier version; try again when its first trial runs"
        )
    if missing := [key for key in found.study.user_attrs.get(NEEDED, []) if key not in given]:
        raise UserError(
            f"{missing[0]} of study {found.study.study_name} holds a password, which its record does not: give "
            f"{missing[0]}=..."
        )
    place = {"study": found.study.study_name, "results_dir": given.get("results_dir", str(found.folder.parent))}
    more = [f"{key}={value}" for key, value in (place | {k: given[k] for k in _OWN if k in given}).items()]
    if found.url is not None:
        more.append(f"hydra.sweeper.storage='{found.url}'")
    sys.argv[1:] = ["-m", *overrides, *more, "hydra.sweeper.mode=join"]
    hydra_main()
