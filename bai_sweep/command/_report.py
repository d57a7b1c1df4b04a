"""`report` and `compare`: pages of studies from their folders, at any time, without their storage."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bai_sweep.command._find import parse_arguments
from bai_sweep.records import UserError

if TYPE_CHECKING:
    from bai_sweep.report import Side

RECORD = "study.json"


def report(arguments: Sequence[str]) -> None:
    """Rebuilds a study's page, figures and tables, and prints the comparison of its trials.

    Raises:
        UserError: there is no such study.
    """
    from bai_sweep.report import print_study
    from bai_sweep.study import write_report

    given = parse_arguments(arguments, ("study", "results_dir"))
    study = write_report(folder_of(given.get("study"), Path(given.get("results_dir", "results"))))
    print_study(study)


def compare(arguments: Sequence[str]) -> None:
    """Writes the page of several studies and prints its tables.

    Raises:
        UserError: a study is not there, is named twice, or they have nothing in common.
    """
    from rich.console import Console
    from rich.text import Text

    from bai_sweep.report import best_table, compared, paired, paired_table, rich_table, write_comparison

    given = parse_arguments(arguments, ("studies", "results_dir", "out"))
    names, results = _names(given), Path(given.get("results_dir", "results"))
    comparison = compared([_side(folder_of(name, results)) for name in names])
    out = Path(given["out"]) if "out" in given else results / f"compare-{'-'.join(map(_plain, names))}"
    if (out / RECORD).is_file():
        raise UserError(f"out= is a folder of its own; {out} holds a study")
    entries = paired(comparison)
    page = write_comparison(comparison, entries, out)
    console = Console()
    console.print(
        rich_table(best_table(comparison, benchmarks=False)), Text(), rich_table(paired_table(entries)), sep="\n"
    )
    for name, lacking in comparison.absent.items():
        console.print(Text(f"{name} is not compared: {', '.join(lacking)} without a score of it", style="yellow"))
    console.print(Text(f"\nreport   {page}", overflow="fold"))


def _names(given: Mapping[str, str]) -> list[str]:
    names = [name.strip() for name in given.get("studies", "").split(",") if name.strip()]
    if len(names) < 2:
        raise UserError(f"compare takes two studies at least, as in studies=a,b; got {', '.join(names) or 'none'}")
    if len(set(names)) < len(names):
        raise UserError(f"a comparison is between different studies; got {', '.join(names)}")
    return names


def _plain(name: str) -> str:
    """A study's name as part of a folder's: names may have slashes."""
    return name.replace("/", "_")


def folder_of(name: str | None, results: Path) -> Path:
    """The folder of the study that is named, or of the one begun last.

    Raises:
        UserError: there is none; the message names those that there are.
    """
    folders = [path.parent for path in results.glob(f"*/{RECORD}")]
    if name is None:
        if not folders:
            raise UserError(f"{results} holds no study; give results_dir=")
        return max(folders, key=lambda folder: (folder / RECORD).stat().st_mtime)
    if not (results / name / RECORD).is_file():
        known = ", ".join(sorted(folder.name for folder in folders)) or "none"
        raise UserError(f"no study {name} in {results}; there are: {known}; give a name of these and results_dir=")
    return results / name


def _side(folder: Path) -> Side:
    from bai_sweep.report import Side
    from bai_sweep.study import read_study
    from bai_sweep.tracking import flatten

    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return Side(read_study(folder), flatten(record["config"]))
