"""A figure as data, before it is drawn: `_plotly` makes the page's of it, `_figures` PNG and SVG.

Colours are names that whoever draws looks up in the reader's theme: `slot:3` (the point's of that place), `hue:1` (one
of a few fixed hues, for what is not a point of the search space) and `var:muted` (an ink of the page).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Symbol = Literal["disc", "ring", "cross", "open cross", "triangle"]
Place = float | str

# Lengths of stroke and gap in pixels: a second channel beside the colour; none is a solid line.
DASHES: tuple[tuple[int, ...], ...] = (
    (), (8, 4), (2, 3), (8, 3, 2, 3), (15, 4), (4, 4), (15, 3, 2, 3), (2, 7),
)  # fmt: skip
DOTTED = (2, 3)
HOLLOW: tuple[Symbol, ...] = ("ring", "open cross", "triangle")


@dataclass(frozen=True)
class Trace:
    """A line, dots or stacked bars over the same x.

    Args:
        x: places, numbers or the names of categories.
        y: heights; NaN leaves a gap.
        colour: `slot:k`, `hue:k` or `var:name`.
        kind: how it is drawn.
        name: what it is, for legends and readers of the data.
        error: half the interval at each place; empty: none is drawn.
        width: of a line, in pixels.
        dash: of a line.
        opacity: of all of it, 0 to 1.
        steps: whether a line goes from place to place in steps.
        symbol, size: of dots, in pixels.
        labels: words beside the dots.
        hover: what the page says of a place, `%{x}` and `%{y}` filled in; empty: nothing.
    """

    x: tuple[Place, ...]
    y: tuple[float, ...]
    colour: str
    kind: Literal["line", "dots", "bars"] = "line"
    name: str = ""
    error: tuple[float, ...] = ()
    width: float = 2.0
    dash: tuple[int, ...] = ()
    opacity: float = 1.0
    steps: bool = False
    symbol: Symbol = "disc"
    size: float = 10.0
    labels: tuple[str, ...] = ()
    hover: str = ""

    @property
    def alike(self) -> tuple[object, ...]:
        """What dots have in common that can be drawn in one go."""
        return (self.symbol, self.size, self.opacity)


def batches(traces: Sequence[Trace]) -> list[list[Trace]]:
    """Dots in groups that can be drawn in one go, in the order of their first ones."""
    found: dict[tuple[object, ...], list[Trace]] = {}
    for trace in traces:
        if trace.kind == "dots":
            found.setdefault(trace.alike, []).append(trace)
    return list(found.values())


@dataclass(frozen=True)
class Axis:
    """What an axis is called and how far it goes.

    Args:
        title: the quantity and its unit.
        low, high: its ends; None: as the data have it.
        ticks: where there are ticks; empty: where whoever draws likes.
        categories: the names along it, in order; empty: it is numeric.
    """

    title: str = ""
    low: float | None = None
    high: float | None = None
    ticks: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Args:
        key: its element on the page.
        title, unit: what stands above it.
        named: traces that are told apart by a key of their own instead of the points' legend.
    """

    key: str
    title: str
    unit: str
    traces: tuple[Trace, ...]
    x: Axis = Axis()
    y: Axis = Axis()
    named: bool = False


@dataclass(frozen=True)
class Figure:
    """Panels that belong together, and what has to be said of them.

    Args:
        key: the name of its files.
        title: its heading.
        panels: at least one.
        note: how to read it.
        legend: whether the points' colours are in it.
    """

    key: str
    title: str
    panels: tuple[Panel, ...]
    note: str = ""
    legend: bool = True
