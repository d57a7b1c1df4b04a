"""A plan in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bai_sweep.planning._figures import Figure
from bai_sweep.planning._plan import STAGES, StudyPlan
from bai_sweep.planning._savings import Savings
from bai_sweep.planning._units import count, size, time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rich.console import RenderableType
    from rich.table import Table

_UNKNOWN = "unknown"


def render(plan: StudyPlan) -> RenderableType:
    """What `rich.console.Console.print` shows; legible from 80 columns, plain text where there is no terminal."""
    from rich.console import Group
    from rich.text import Text

    points = f"{plan.points} point{_s(plan.points)}"
    seeds = f" x {plan.seeds} seeds" if plan.seeds > 1 else ""
    head = Text(f"{plan.trials} trial{_s(plan.trials)}: {points}{seeds}, {plan.workers} at a time", style="bold")
    parts: list[RenderableType] = [head, Text(), _table(_in_all(plan)), Text(), _table(_of_a_trial(plan))]
    parts += [Text(), *_savings(plan.savings)]
    if plan.notes:
        parts += [Text(), *(Text(f"- {note}", overflow="fold") for note in plan.notes)]
    return Group(*parts)


def _in_all(plan: StudyPlan) -> Iterable[tuple[str, str, str]]:
    yield "in all", "", ""
    yield _row("PPO steps", plan.steps, count)
    yield _row("response tokens", plan.tokens, count)
    yield _row("time", plan.duration, time)
    yield _row("GPU hours", plan.gpu_hours, "{:.1f}".format)
    if plan.kept.value is not None:
        yield "disk afterwards", size(plan.kept.value * plan.trials), plan.kept.source


def _of_a_trial(plan: StudyPlan) -> Iterable[tuple[str, str, str]]:
    yield "a trial", "", ""
    for stage in STAGES:
        yield _row(f"time of {stage}", plan.seconds[stage], time)
    for name, counted in plan.items.items():
        items = _UNKNOWN if counted.items is None else count(counted.items)
        repeats = f", {counted.repeats} responses to each" if counted.repeats > 1 else ""
        yield f"items of {name}", items, counted.source + repeats
    if plan.measured_memory is not None:
        yield _row("memory", plan.measured_memory, size)
    yield _row("memory at most", plan.memory, size)
    if plan.memory_parts is not None:
        for name, taken in plan.memory_parts.parts.items():
            yield f"  {name}", size(taken), ""
    yield _row("a checkpoint", plan.checkpoint, size)
    yield _row("disk while it runs", plan.disk, size)


def _row(name: str, figure: Figure, shown: Callable[[float], str]) -> tuple[str, str, str]:
    return name, _UNKNOWN if figure.value is None else shown(figure.value), figure.source


def _table(rows: Iterable[tuple[str, str, str]]) -> Table:
    """Name, number and source; the first row is the heading."""
    from rich.table import Table

    (title, *_), *rest = rows
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(title, no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("from", overflow="fold")
    for row in rest:
        table.add_row(*row)
    return table


def _savings(savings: Savings) -> Iterable[RenderableType]:
    from rich.table import Table
    from rich.text import Text

    yield Text(f"pruning: {savings.note}", overflow="fold")
    if not savings.rows:
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("rule", overflow="fold")
    for name in ("steps saved", "least to most", "best trial ended"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in savings.rows:
        own = row.rule == savings.chosen
        table.add_row(
            f"{row.rule}{' *' if own else ''}",
            f"{row.saved:.0%}",
            f"{row.least:.0%} to {row.most:.0%}",
            f"{row.best_stopped:.0%}",
            style="bold" if own else None,
        )
    yield table
    if savings.chosen:
        yield Text("* as this study is set")


def _s(number: int) -> str:
    return "" if number == 1 else "s"
