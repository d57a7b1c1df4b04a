"""The end of a study in the terminal: the comparison, the recommendation, and where everything is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bai_sweep.report._comparison import comparison, faults
from bai_sweep.report._study import StudyReport
from bai_sweep.report._table import Table

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table as RichTable

_WIDE = 4  # more benchmarks than this get a table of their own


def print_study(study: StudyReport, console: Console | None = None) -> None:
    """Prints the end of a study: legible from 80 columns, plain text where there is no terminal.

    Commands, paths and addresses are never broken, so that they can be copied.
    """
    from rich.console import Console

    console = console or Console()
    for part in _parts(study):
        copied = isinstance(part, _Copied)
        console.print(part, soft_wrap=copied, markup=False, highlight=False, emoji=False)


class _Copied(str):
    """A line that a reader copies."""


def _parts(study: StudyReport) -> list[RenderableType]:
    from rich.text import Text

    parts: list[RenderableType] = [*_tables(study), *_faults(study), *_early(study), *_unfinished(study)]
    if study.choice:
        parts += [Text(), _recommendation(study), *_losers_and_next(study)]
    places = {"report": study.folder / "report.html", "trials": study.trials_folder, "compare": study.link}
    return [*parts, Text(), *(_Copied(f"{name:<8} {place}") for name, place in places.items() if place)]


def _tables(study: StudyReport) -> list[RenderableType]:
    if not study.results:
        return []
    whole = _narrow(study, comparison(study, errors=False))
    if len(study.benchmarks) <= _WIDE:
        return [rich_table(whole)]
    scores = [k for k, name in enumerate(whole.columns) if name in study.benchmarks]
    rest = [k for k in range(len(whole.columns)) if k not in scores]
    return [rich_table(_columns(whole, rest)), rich_table(_benchmarks_as_rows(whole, scores))]


def _narrow(study: StudyReport, table: Table) -> Table:
    """One word for the verdict; the faults stand in lines of their own."""
    words = {"none": "stable", "suspected": "unstable?", "certain": "unstable"}
    rows = zip(table.rows, study.ordered, strict=True)
    short = tuple((*row[:-1], words[result.diagnosis.worst]) for row, result in rows)
    return Table(("#", *table.columns[1:]), short, table.best)


def _faults(study: StudyReport) -> list[RenderableType]:
    from rich.text import Text

    unstable = [result for result in study.ordered if result.diagnosis.worst != "none"]
    lines = [Text(f"trial {result.number}: {faults(result.diagnosis)}", style="yellow") for result in unstable]
    return [Text(), *lines] if lines else []


def _early(study: StudyReport) -> list[RenderableType]:
    from rich.text import Text

    early = [result for result in study.ordered if result.pruned is not None]
    return [Text(), *(Text(f"trial {r.number} ended early: {r.pruned}") for r in early)] if early else []


def _columns(table: Table, kept: list[int]) -> Table:
    rows = tuple(tuple(row[k] for k in kept) for row in table.rows)
    return Table(tuple(table.columns[k] for k in kept), rows, table.best)


def _benchmarks_as_rows(table: Table, scores: list[int]) -> Table:
    rows = tuple((table.columns[k], *(row[k] for row in table.rows)) for k in scores)
    return Table(("#", *(row[0] for row in table.rows)), rows)


def rich_table(table: Table) -> RichTable:
    """A table for the terminal: wraps where there is no room, cuts nothing off."""
    from rich import box
    from rich.table import Table as RichTable

    shown = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False, show_edge=False)
    for name in table.columns:
        words = name in ("verdict", "") or name == table.columns[0]
        shown.add_column(
            name.replace("_", " "), justify="left" if words else "right", no_wrap=name == "overall", overflow="fold"
        )
    winners = {row for row, column in table.best if column == 0}
    for k, row in enumerate(table.rows):
        shown.add_row(*row, style="bold" if k in winners else None)
    return shown


def _unfinished(study: StudyReport) -> list[RenderableType]:
    from rich.text import Text

    lines = [f"trial {k} failed: {reason}" for k, reason in study.failure_reasons.items()]
    lines += [f"trial {k} has not ended; the same command with resume=true finishes it" for k in study.pending]
    return [Text(), *(Text(line, style="red") for line in lines)] if lines else []


def _losers_and_next(study: StudyReport) -> list[RenderableType]:
    from rich.text import Text

    choice = study.choice
    if choice is None:
        return []
    losers = [Text(f"{s.label}: {s.reason}") for s in choice.standings if s.reason and s.eligible]
    guess = [Text(choice.proposal.reason)] if choice.proposal else []
    asked = [*choice.next_trials, *([choice.proposal.confirm] if choice.proposal else [])]
    commands = [part for t in asked for part in (Text(f"run next, {t.purpose}:"), _Copied(t.command))]
    return [part for listed in (losers, guess, commands) if listed for part in (Text(), *listed)]


def _recommendation(study: StudyReport) -> RenderableType:
    from rich.text import Text

    choice, winner = study.choice, study.winner
    head = f"Take {study.recommended}" if winner else "No recommendation"
    doubt = "" if winner is None or (choice and choice.clear) else " (not clear)"
    return Text.assemble((f"{head}{doubt}. ", "bold"), choice.reason if choice else "")
