"""A study at one moment: what is done, what runs, how long the rest takes, what is best so far, what failed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from bai_sweep.command._find import Found
from bai_sweep.progress import clock, read_progress
from bai_sweep.search.control import Best, StudyState, read_state


def describe(found: Found) -> list[RenderableType]:
    """What `status` prints, in parts."""
    state = read_state(found.study)
    parts: list[RenderableType] = [Text(_headline(found, state), style="bold")]
    if state.stopped:
        parts.append(Text(f"stopped: {state.stopped}", style="yellow"))
    if state.running:
        parts.append(_running(found, state.running))
    if state.best:
        parts += _best(state)
    parts += [Text(f"trial {number} failed: {reason}", style="red") for number, reason in state.failures.items()]
    return parts


def _headline(found: Found, state: StudyState) -> str:
    counts = f"{len(state.finished)} finished ({len(state.pruned)} of them early), {len(state.running)} running"
    line = f"study {found.study.study_name}: {counts}, {len(state.failures)} failed of {state.total}"
    eta = time_left(state, datetime.now(UTC))
    return line if eta is None else f"{line}; about {clock(eta)} to go"


def time_left(state: StudyState, now: datetime) -> float | None:
    """Seconds until the last trial ends if the workers there are stay; None while no trial has ended, or none runs."""
    lengths = [_seconds(t, t.datetime_complete) for t in state.finished if t.datetime_start and t.datetime_complete]
    if not lengths or not state.running:
        return None
    length = math.fsum(lengths) / len(lengths)
    begun = [max(length - _seconds(trial, now), 0.0) for trial in state.running]
    waiting = state.total - len(state.finished) - len(state.failures) - len(state.running)
    return (math.fsum(begun) + max(waiting, 0) * length) / len(state.running)


def _seconds(trial: FrozenTrial, until: datetime | None) -> float:
    assert trial.datetime_start is not None
    assert until is not None
    return (_aware(until) - _aware(trial.datetime_start)).total_seconds()


def _aware(moment: datetime) -> datetime:
    """Optuna keeps local times without their zone."""
    return moment.astimezone(UTC)


def _running(found: Found, trials: Sequence[FrozenTrial]) -> RenderableType:
    table = _table("#", "point", "stage", "step", "")
    for trial in trials:
        number = trial.user_attrs["number"]
        progress = read_progress(found.folder / "trials" / str(number) / "progress.json")
        where = (
            (progress.stage, f"{progress.done}/{progress.total}" if progress.total else "", progress.note)
            if progress is not None and progress.state == "running"
            else ("elsewhere" if progress is None else "", "", "")
        )
        table.add_row(str(number), label(trial), *where)
    return table


def _best(state: StudyState) -> list[RenderableType]:
    table = _table("#", "point", *state.objectives, "seeds", "")
    for best in state.best:
        values = [_value(*pair) for pair in zip(best.values, best.errors, strict=True)]
        note = "" if best.feasible else "breaks a constraint"
        table.add_row(", ".join(map(str, best.numbers)), best.label, *values, str(len(best.numbers)), note)
    many = len(state.objectives) > 1
    arrow = {StudyDirection.MAXIMIZE: "largest", StudyDirection.MINIMIZE: "smallest"}
    title = (
        "best so far: no other point is better in all objectives"
        if many
        else (f"best so far: the {arrow[state.directions[0]]} {state.objectives[0]}")
    )
    return [Text(title), table]


def _value(value: float, error: float) -> str:
    return f"{value:.4g}" if math.isnan(error) else f"{value:.4g} ± {error:.2g}"


def label(trial: FrozenTrial) -> str:
    """A trial's point as people write it."""
    return Best.label_of(trial)


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False)
    for name in columns:
        table.add_column(name)
    return table
