"""The folder of a promoted model: made whole or not at all, and found again by its manifest."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bai_sweep.merging import Provenance, write_actor
from bai_sweep.promotion._proof import prove, require_same_inputs
from bai_sweep.promotion._record import PROMOTION, card_of, rows_of
from bai_sweep.promotion._rescoring import rescoring
from bai_sweep.promotion._subject import Subject
from bai_sweep.records import UserError

MANIFEST = "merge.json"


@dataclass(frozen=True)
class Finished:
    """A whole folder.

    Args:
        path: Absolute.
        manifest: What its merge.json says.
        reused: It stood there already.
    """

    path: Path
    manifest: Mapping[str, Any]
    reused: bool

    @property
    def promotion(self) -> Mapping[str, Any]:
        """Where the manifest says that it comes from."""
        found: Mapping[str, Any] = self.manifest[PROMOTION]
        return found


def place_of(subject: Subject, out: str | None, dtype: str) -> Path:
    """Where the folder goes: the one that is named, else one in the study's folder for each trial and dtype."""
    if out is not None:
        return Path(out).expanduser().absolute()
    rounded = "" if dtype == "float32" else f"-{dtype}"
    name = f"{subject.study.name}-trial-{subject.number}{rounded}"
    return (subject.study.folder / "promoted" / name).absolute()


def finished_folder(subject: Subject, place: Path, *, dtype: str, command: str) -> Finished:
    """Merges the trial's actor into `place`, or takes the folder that an earlier call has finished there.

    Raises:
        UserError: Something else is there, the models have changed, there is no room, or the merge is not the trial's.
    """
    if os.path.lexists(place):
        manifest = _require_own(subject, place, dtype)
        prove(subject, place, dtype)
        return Finished(place, manifest, reused=True)
    require_same_inputs(subject)
    again = rescoring(place, subject.setup)
    provenance = Provenance(
        rows={PROMOTION: rows_of(subject, again)},
        card=card_of(subject, again),
        accept=lambda partial: {"actor": prove(subject, partial, dtype)},
    )
    setup = subject.setup
    write_actor(setup.model, setup.actor, place, dtype=dtype, provenance=provenance, command=command)
    return Finished(place, _manifest(place), reused=False)


def _require_own(subject: Subject, place: Path, dtype: str) -> dict[str, Any]:
    """The manifest of a folder that this promotion has made.

    Raises:
        UserError: The folder is another's, or of another state.
    """
    manifest = _manifest(place)
    promotion = manifest.get(PROMOTION) or {}
    wanted = {
        "study": subject.study.name,
        "trial": subject.number,
        "run_id": subject.result.run_id if subject.result else None,
        "forced": subject.forced,
    }
    different = [
        f"{key} {promotion.get(key)!r}, not {value!r}" for key, value in wanted.items() if promotion.get(key) != value
    ]
    if manifest.get("dtype") != dtype:
        different.append(f"dtype {manifest.get('dtype')!r}, not {dtype!r}")
    if different:
        raise UserError(
            f"{place} exists and is not this promotion's ({'; '.join(different)}); nothing is overwritten: name "
            "another folder with out=..., or remove it"
        )
    if broken := [row["file"] for row in manifest["outputs"] if _size(place / row["file"]) != row["bytes"]]:
        raise UserError(f"{place} is not whole any more: {', '.join(broken)} changed; remove it, and it is made anew")
    return manifest


def _manifest(place: Path) -> dict[str, Any]:
    path = place / MANIFEST
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
