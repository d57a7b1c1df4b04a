"""The display on a terminal: a line for the study, a row with a bar for each running trial."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bai_sweep.progress._file import Progress
from bai_sweep.progress._watch import Snapshot

MOST_ROWS = 16


def render(name: str, snapshot: Snapshot, heading: bool = True) -> RenderableType:
    """The whole display; `heading` is left out for a single trial."""
    rows = Table.grid(padding=(0, 2))
    for trial in snapshot.running[:MOST_ROWS]:
        rows.add_row(*_row(trial, snapshot.silent.get(trial.number)))
    parts: list[RenderableType] = (
        [Text.assemble((f"study {name}", "bold"), f"  {study_line(snapshot)}")] if heading else []
    )
    parts.append(rows)
    if (more := len(snapshot.running) - MOST_ROWS) > 0:
        parts.append(Text(f"and {more} more trials running", style="dim"))
    return Group(*parts)


def study_line(snapshot: Snapshot) -> str:
    """`1 done, 1 running, 0 failed of 3  elapsed 0:40  ETA 1:20`."""
    of = f" of {snapshot.total}" if snapshot.total is not None else ""
    line = f"{snapshot.done} done, {len(snapshot.running)} running, {snapshot.failed} failed{of}"
    line += f"  elapsed {clock(snapshot.elapsed)}"
    if snapshot.eta is None or (not snapshot.running and not snapshot.eta[0]):
        return line
    seconds, at_least = snapshot.eta
    return f"{line}  ETA {'>' if at_least else ''}{clock(seconds)}"


def steps(trial: Progress) -> str:
    """`12/50`, `12` without a total, nothing before the first step of such a stage."""
    if trial.total is not None:
        return f"{trial.done}/{trial.total}"
    return str(trial.done) if trial.done else ""


def clock(seconds: float) -> str:
    """`0:07`, `12:34`, `1:02:03`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def _row(trial: Progress, silent: float | None) -> list[RenderableType]:
    bar = ProgressBar(total=trial.total, completed=trial.done, width=20)  # without a total it pulses
    eta = f"ETA {clock(trial.stage_eta)}" if trial.stage_eta is not None else ""
    note = Text(f"silent for {clock(silent)}", style="yellow") if silent else Text(trial.note)
    texts = (trial.name, trial.stage), (steps(trial), eta)
    return [Text(f"{trial.number}", style="bold"), *map(Text, texts[0]), bar, *map(Text, texts[1]), note]
