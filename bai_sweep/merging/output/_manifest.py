"""merge.json: what a merge was made of and how, for a machine to read."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bai_sweep.merging._types import Dtype, Member
from bai_sweep.merging.output._settings import DTYPE_NAMES
from bai_sweep.records import MergeRecipe

if TYPE_CHECKING:
    from bai_sweep.merging._plan import MergePlan

MANIFEST = "merge.json"
FORMAT = 1
"""Of the manifest; a reader may refuse a later one."""


def recipe_rows(recipe: MergeRecipe) -> dict[str, Any]:
    """What any manifest says, of a merge that was written or of a live model."""
    return {
        "format": FORMAT,
        "formula": recipe.formula(),
        "method": recipe.method,
        "settings": dict(recipe.settings),
        "weights": dict(recipe.weights),
        "sources": dict(recipe.sources),
    }


def merge_rows(plan: MergePlan, recipe: MergeRecipe, dtype: Dtype) -> dict[str, Any]:
    """What a merge that was written says besides, known before it is made."""
    vocabulary = plan.vocabulary
    return {
        **recipe_rows(recipe),
        "sources": {name: model.source for name, model in plan.models.items()},
        "trained": None,
        "dtype": DTYPE_NAMES[dtype],
        "tied": plan.tied,
        "vocabulary": {
            "tokenizer": vocabulary.tokenizer,
            "rows": vocabulary.rows,
            "missing_tokens": plan.missing_tokens,
            "lacking": dict(vocabulary.lacking),
            "added": [{"token": t.token, "id": t.id, "special": t.special} for t in vocabulary.added],
        },
        "doubts": list(plan.doubts),
    }


def input_rows(members: Mapping[str, Member], digests: Mapping[Path, str]) -> dict[str, list[dict[str, Any]]]:
    """Every file that was read, by its absolute path, with its size in bytes and its SHA-256."""
    return {
        name: [{"file": str(f.absolute()), "bytes": f.stat().st_size, "sha256": digests[f]} for f in member.files]
        for name, member in members.items()
    }


def output_rows(folder: Path) -> list[dict[str, Any]]:
    """Every file that was written, with its size in bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return [{"file": str(path.relative_to(folder)), "bytes": path.stat().st_size} for path in files]


def finished(rows: Mapping[str, Any], command: str | None) -> dict[str, Any]:
    """The record with what made it; two runs of one merge differ in `created` only.

    Args:
        rows: The record so far.
        command: What was typed.
    """
    made = {"versions": _versions(), "command": command, "created": datetime.now(UTC).isoformat(timespec="seconds")}
    record: dict[str, Any] = _plain({**rows, **made})
    return record


def _versions() -> dict[str, str]:
    return {"bai_sweep": _own_version(), "python": platform.python_version(), "numpy": version("numpy")}


def _own_version() -> str:
    try:
        return version("bai-sweep")
    except PackageNotFoundError:  # a checkout that is on the path without being installed
        return "unknown"


def _plain(value: Any) -> Any:
    """What JSON has: a number that is not finite becomes null, a tuple a list."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
