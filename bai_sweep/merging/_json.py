"""The JSON files of model folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bai_sweep.records import UserError


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        UserError: The file is not there, cannot be read or holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); check the folder") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: this is no JSON: {error}; fetch it again") from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: a JSON object was expected, this is a {type(found).__name__}; fetch it again")
    return found
