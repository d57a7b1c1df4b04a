"""The name of a study: the one asked for, or the next free `<name>-2`, `<name>-3`, ... where that one exists."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from bai_sweep.records import UserError
from bai_sweep.search._storage import JOURNAL

FolderOf = Callable[[str], Path]


def newest_study(base: str, folder_of: FolderOf, stored: Collection[str] | None) -> str:
    """The study to resume: `base` or its newest successor, as far as these follow each other without a gap.

    Args:
        base: the name asked for.
        folder_of: the folder of a study of a given name.
        stored: names of the studies in the database; None where each folder has its own journal.

    Raises:
        UserError: there is none.
    """
    parent = folder_of(base).parent
    folders = {path.name for path in parent.glob("*")}
    studies = {path.parent.name for path in parent.glob(f"*/{JOURNAL}")} if stored is None else set(stored)
    # A folder whose study was killed before it had a journal is no gap; exp-2024 beside exp is another study.
    taken = itertools.takewhile((folders | studies).__contains__, _successors(base))
    newest = [name for name in taken if name in studies]
    if newest:
        return newest[-1]
    where = f"in {parent}" if stored is None else "in the database"
    found = f"there are {', '.join(sorted(studies))}" if studies else "there is none at all"
    raise UserError(
        f"no study {base} to resume {where}; {found}; give its name as study=<name>, or start a new one without "
        "resume=true"
    )


def _successors(base: str) -> Iterator[str]:
    """`base`, `<base>-2`, `<base>-3`, ... without end."""
    return itertools.chain([base], (f"{base}-{n}" for n in itertools.count(2)))


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
    for name in _successors(base):
        if name in stored:
            continue
        try:
            folder_of(name).mkdir(parents=True)
        except FileExistsError:
            continue
        return name
    raise AssertionError("unreachable: the count is endless")
