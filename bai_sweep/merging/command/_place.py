"""Where a merge is to be written: the same words before the merge and in its dry run."""

from __future__ import annotations

import os
from pathlib import Path

from bai_sweep.records import UserError


def require_place(folder: Path) -> Path:
    """A folder can be made there, as far as can be known without making one.

    Returns:
        The nearest folder above it that exists.

    Raises:
        UserError: It cannot: what is above it is no folder, or may not be entered or written to.
    """
    folder = folder.absolute()
    for parent in folder.parents:
        if not os.path.lexists(parent):  # or that cannot be known, as the folder above it may not be entered
            continue
        if not parent.is_dir():
            raise UserError(f"{folder} cannot be made: {parent} is no folder; write elsewhere")
        if not os.access(parent, os.W_OK | os.X_OK):
            raise UserError(f"{parent} cannot be written to: change its permissions or write elsewhere")
        return parent
    raise UserError(f"{folder} cannot be made: it is the root of the file system; write elsewhere")
