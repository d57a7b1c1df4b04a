"""A merge's geometry as one PNG: how far from the base each layer went, and where the task vectors disagree.

Matplotlib takes a second or two to import and draw, longer than a small merge: so it is imported here when called,
and margins are set by hand instead of by a layout engine that draws everything twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# the hues and inks of the study's report (Okabe and Ito 2008, darkened for white)
_HUES = ("#0072b2", "#d55e00", "#009e73", "#b0528a", "#c28a00", "#5d3a9b", "#4aa5d9", "#5c5c5c")
_INK, _MUTED, _LINE = "#1c1e21", "#5f6670", "#dfe3e8"
_WIDTH, _HEIGHT, _DPI = 4.2, 3.6, 110  # inches of a panel, and their dots
_SHORT = {"embeddings": "emb", "final norm": "norm"}

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Panel:
    """A panel: its title, what its numbers are, and a line over the layers for each name."""

    title: str
    unit: str
    lines: Mapping[str, list[float]]


def draw(summary: Mapping[str, Any], path: Path) -> Path:
    """Draws a summary of `Geometry` into a PNG file, by layer: relative distance, cosine, sign conflict.

    Without a base there are no task vectors: then the distances and cosines between the models are drawn.
    """
    # No pyplot: it keeps figures and a backend as global state, and may look for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = panels(summary)
    figure = Figure(figsize=(_WIDTH * len(shown), _HEIGHT), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    for place, panel in enumerate(shown):
        left = (place + 0.15) / len(shown)
        axes = figure.add_axes((left, 0.19, 0.8 / len(shown), 0.68))
        _draw(axes, panel, [row["layer"] for row in summary["layers"]])
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            figure.savefig(file, format="png")
        return partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def panels(summary: Mapping[str, Any]) -> list[Panel]:
    """What is drawn of a summary."""
    rows = summary["layers"]
    if summary["total"]["task_vectors"] is None:
        return [
            Panel("Distance between models", "L2", _lines(rows, lambda row: row["distances"])),
            Panel("Angle between models", "cosine", _lines(rows, lambda row: row["cosines"])),
        ]
    drawn = [Panel("Distance from the base", "of its norm", _lines(rows, lambda row: row["task_vectors"]["relative"]))]
    cosines = _lines(rows, lambda row: row["task_vectors"]["cosines"])
    conflict = _lines(rows, _conflict)
    return drawn + [
        panel
        for panel in (
            Panel("Task vectors' angle", "cosine", cosines),
            Panel("Sign conflict", "share of elements, of weight", conflict),
        )
        if panel.lines
    ]


def _conflict(row: Row) -> dict[str, float | None]:
    pairs = row["conflict"].items()
    return {f"{pair}{tail}": found[key] for pair, found in pairs for key, tail in _KINDS.items()}


_KINDS = {"share": "", "weighted": " (weight)"}


def _lines(rows: list[Row], of: Callable[[Row], Mapping[str, float | None]]) -> dict[str, list[float]]:
    values = [of(row) for row in rows]
    names = values[0] if values else ()
    return {name: [math.nan if (v := value[name]) is None else v for value in values] for name in names}


def _draw(axes: Axes, panel: Panel, layers: list[int | str]) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_LINE)
    axes.tick_params(colors=_MUTED, labelsize=8)
    axes.grid(axis="y", color=_LINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_title(panel.title, loc="left", fontsize=11, fontweight="bold", color=_INK)
    axes.set_title(panel.unit, loc="right", fontsize=8, color=_MUTED)
    axes.set_xlabel("layer", fontsize=8, color=_MUTED)
    for number, (name, heights) in enumerate(panel.lines.items()):
        colour, style = _HUES[number % len(_HUES)], "o" if len(layers) <= 40 else ""
        axes.plot(heights, color=colour, linewidth=1.8, marker=style, markersize=3.5, label=name)
    axes.legend(loc="best", fontsize=7.5, frameon=False, labelcolor=_INK)
    ticks = _ticks(layers)
    labels = [_SHORT.get(str(layers[k]), str(layers[k])) for k in ticks]
    axes.set_xticks(ticks, labels, rotation=45, ha="right", rotation_mode="anchor")


def _ticks(layers: list[int | str]) -> list[int]:
    """Every place outside the layers, and about eight of the layers."""
    step = max(1, len(layers) // 8)
    return [k for k, layer in enumerate(layers) if isinstance(layer, str) or layer % step == 0]
