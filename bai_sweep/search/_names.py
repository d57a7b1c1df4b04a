"""The name of a study: the one asked for, or the next free `<name>-2`, `<name>-3`, ... where that one exists."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection
from pathlib import Path

from bai_sweep.records import UserError
from bai_sweep.search._storage import JOURNAL

FolderOf = Callable[[str], Path]


def newest_study(base: str, folder_of: FolderOf, stored: Collection[str] | None) -> str | None:
    """The study to resume: `base` or its newest successor; None if there is none.

    Args:
        base: the name asked for.
        folder_of: the folder of a study of a given name.
        stored: names of the studies in the database; None where each folder has its own journal.
    """
    if stored is None:
        parent = folder_of(base).parent
        stored = {path.parent.name for path in parent.glob(f"*/{JOURNAL}")}
    suffixed = re.compile(re.escape(base) + r"(?:-(\d+))?")
    ages = {name: int(match[1] or 1) for name in stored if (match := suffixed.fullmatch(name))}
    return max(ages, key=ages.__getitem__, default=None)


def claim_name(base: str, folder_of: FolderOf, stored: Collection[str]) -> str:
    """The first free name; its folder is made, so that two studies started at once get two names.

    Raises:
        UserError: the folder does not depend on the name and exists.
    """
    if folder_of(base) == folder_of(f"{base}-2") and folder_of(base).exists():
        raise UserError(
            f"each study has a folder of its own; hydra.sweep.dir is {folder_of(base)} for all, and exists; "
            "put ${study} into it"
        )
    for n in itertools.count(1):
        name = base if n == 1 else f"{base}-{n}"
        if name in stored:
            continue
        try:
            folder_of(name).mkdir(parents=True)
        except FileExistsError:
            continue
        return name
    raise AssertionError("unreachable: the count is endless")
