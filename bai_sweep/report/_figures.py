"""The same figures as PNG and SVG files, for MLflow's artifacts, a README, a pull request, and paper.

Places are computed here instead of by a layout engine, which gives up where labels are long and draws all twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bai_sweep.report._gallery import Legend, gallery, legend
from bai_sweep.report._spec import HOLLOW, Axis, Figure, Panel, Trace, batches
from bai_sweep.report._study import StudyReport
from bai_sweep.report._write import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

INKS = {"ink": "#1c1e21", "muted": "#5f6670", "line": "#dfe3e8", "paper": "#ffffff"}
FORMATS = ("png", "svg")
_WIDE, _HIGH = 3.9, 2.35  # inches of a panel's axes
_LEFT, _GAP, _TOP, _ROW = 0.72, 0.85, 0.62, 0.26
_CHARACTER = 0.078  # inches, of the legend's font
_TICK, _NAME, _ENTRY = 16, 46, 90  # characters of a tick, of a name in a panel, of an entry of the legend
_SYMBOLS = {"disc": "o", "ring": "o", "cross": "X", "open cross": "X", "triangle": "^"}
_SEPARATE = 40  # bars that can be told apart
_HATCHES = ("", "//", "..", "\\\\", "xx", "--", "||", "++")


def write_figures(
    study: StudyReport, folder: Path, *, formats: Sequence[str] = FORMATS, only: tuple[str, ...] = ()
) -> list[Path]:
    """Writes each figure of the study in each format, complete or not at all.

    Args:
        study: what to draw.
        folder: is made if it is not there.
        formats: endings, `png` and `svg`.
        only: keys of figures, as `curves`; empty: all.

    Returns:
        The files' paths.
    """
    return draw_all(gallery(study, only), legend(study), folder, formats=formats)


def draw_all(
    figures: Sequence[Figure], colours: Legend, folder: Path, *, formats: Sequence[str] = FORMATS
) -> list[Path]:
    """Draws figures into files named by their keys."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for figure in figures:
        canvas = _draw(figure, colours)
        paths += [_save(canvas, folder / f"{figure.key}.{ending}") for ending in formats]
    return paths


def _save(canvas: Canvas, path: Path) -> Path:
    from matplotlib import rc_context

    ending = path.suffix[1:]
    metadata = {"Date": None} if ending == "svg" else None  # the same study gives the same bytes
    with replacing(path) as partial, rc_context({"svg.fonttype": "none", "svg.hashsalt": "bai_sweep"}):
        canvas.savefig(partial, format=ending, dpi=150, facecolor="white", metadata=metadata)
    return path


def _draw(figure: Figure, colours: Legend) -> Canvas:
    # No pyplot: it keeps figures and a backend as global state, and may look for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    columns = _columns(len(figure.panels))
    rows = -(-len(figure.panels) // columns)
    bottom = max(_below(panel) for panel in figure.panels)
    keys = max((len(_key(panel)) for panel in figure.panels), default=0) * _ROW * 0.8
    keys += 0.15 if keys else 0.0
    width = columns * (_WIDE + _GAP) + _LEFT - _GAP + 0.25
    top = _legend_height(figure, colours, width)
    each = _TOP + _HIGH + bottom + keys
    height = top + rows * each + 0.05
    canvas = Canvas(figsize=(width, height))
    FigureCanvasAgg(canvas)
    for number, panel in enumerate(figure.panels):
        row, column = divmod(number, columns)
        x, y = _LEFT + column * (_WIDE + _GAP), height - top - row * each - _TOP - _HIGH
        axes = canvas.add_axes((x / width, y / height, _WIDE / width, _HIGH / height))
        _panel(axes, panel, colours)
        _draw_key(axes, panel, colours, below=bottom)
    if figure.legend:
        _draw_legend(canvas, colours, width, height)
    return canvas


def _columns(count: int) -> int:
    return {1: 1, 2: 2, 4: 2}.get(count, 3)


def _below(panel: Panel) -> float:
    """Inches for ticks and title under a panel."""
    longest = max((len(_cut(name, _TICK)) for name in panel.x.categories), default=0)
    slanted = min(longest, _TICK) * 0.045 if _slants(panel.x) else 0.0
    return 0.32 + (0.22 if panel.x.title else 0.0) + slanted


def _slants(axis: Axis) -> bool:
    shown = [_cut(name, _TICK) for name in axis.categories]
    return sum(len(name) + 2 for name in shown) * 0.065 > _WIDE


def _cut(label: str, limit: int) -> str:
    """A label without its middle if it is too long: what differs is often at its end."""
    half = (limit - 3) // 2
    short = label if len(label) <= limit else f"{label[:half]}...{label[-half:]}"
    return short.replace("$", r"\$")  # a formula to matplotlib


def _panel(axes: Axes, panel: Panel, colours: Legend) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INKS["line"])
    axes.tick_params(colors=INKS["muted"], labelsize=8.5)
    axes.grid(axis="y", color=INKS["line"], linewidth=0.7)
    axes.set_axisbelow(True)
    lift = 0.17 if panel.unit else 0.05
    axes.text(
        0,
        1 + lift,
        _cut(panel.title, _NAME),
        transform=axes.transAxes,
        fontsize=11.5,
        fontweight="bold",
        color=INKS["ink"],
    )
    axes.text(0, 1.05, panel.unit, transform=axes.transAxes, fontsize=8.5, color=INKS["muted"])
    _bars(axes, panel, colours)
    for trace in panel.traces:
        if trace.kind == "line":
            _line(axes, trace, panel.x, colours)
    for batch in batches(panel.traces):
        _dots(axes, batch, panel.x, colours)
    _axes(axes, panel)


def _axes(axes: Axes, panel: Panel) -> None:
    if panel.x.title:
        axes.set_xlabel(panel.x.title, fontsize=9, color=INKS["muted"])
    if panel.y.title:
        axes.set_ylabel(panel.y.title, fontsize=9, color=INKS["muted"])
    names = panel.x.categories
    if names:
        step = max(1, math.ceil(len(names) / 24))
        shown = range(0, len(names), step)
        turned: dict[str, Any] = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if _slants(panel.x) else {}
        axes.set_xticks(list(shown), [_cut(names[k], _TICK) for k in shown], **turned)
        axes.set_xlim(-0.6, len(names) - 0.4)
    elif panel.x.low is not None and panel.x.high is not None:
        axes.set_xlim(panel.x.low, panel.x.high)
    if panel.x.ticks:
        axes.set_xticks(list(panel.x.ticks))
    if panel.y.low is not None:
        axes.set_ylim(bottom=panel.y.low)
    if any(trace.labels for trace in panel.traces):
        axes.margins(x=0.12, y=0.14)


def _places(trace: Trace, axis: Axis) -> list[float]:
    """Numbers along the axis; of categories their places."""
    where = {name: float(k) for k, name in enumerate(axis.categories)}
    return [where[str(x)] if axis.categories else float(x) for x in trace.x]


def _colour(trace: Trace, colours: Legend) -> str:
    return colours.colour(trace.colour, "light", INKS)


def _line(axes: Axes, trace: Trace, x: Axis, colours: Legend) -> None:
    # Strokes are in pixels of the page; matplotlib's are in widths of the line.
    dash: Any = (0, tuple(0.75 * length / trace.width for length in trace.dash)) if trace.dash else "-"
    axes.plot(
        _places(trace, x),
        trace.y,
        color=_colour(trace, colours),
        linewidth=0.75 * trace.width,
        alpha=trace.opacity,
        linestyle=dash,
        drawstyle="steps-post" if trace.steps else "default",
    )


def _dots(axes: Axes, batch: Sequence[Trace], x: Axis, colours: Legend) -> None:
    """Dots that differ in place and colour only; one by one, hundreds of them would take half a minute."""
    first, hollow = batch[0], batch[0].symbol in HOLLOW
    places = [place for trace in batch for place in _places(trace, x)]
    heights = [y for trace in batch for y in trace.y]
    shades = [_colour(trace, colours) for trace in batch for _ in trace.x]
    errors = [error for trace in batch for error in (trace.error or (math.nan,) * len(trace.x))]
    _intervals(axes, places, heights, errors, shades)
    axes.scatter(
        places,
        heights,
        s=(0.75 * first.size) ** 2,
        marker=_SYMBOLS[first.symbol],
        alpha=first.opacity,
        facecolors="white" if hollow else shades,
        edgecolors=shades,
        linewidths=1.6 if hollow else 0,
        zorder=3,
    )
    words = [word for trace in batch for word in (trace.labels or ("",) * len(trace.x))]
    for place, height, word in zip(places, heights, words, strict=True):
        style: dict[str, Any] = {"ha": "center", "fontsize": 8, "color": INKS["ink"], "textcoords": "offset points"}
        if word:
            axes.annotate(_cut(word, _TICK), (place, height), (0, 7), **style)


def _intervals(axes: Axes, x: list[float], y: list[float], half: list[float], shades: list[str]) -> None:
    known = [k for k in range(len(x)) if math.isfinite(half[k])]
    if not known:
        return
    at, shown = [x[k] for k in known], [shades[k] for k in known]
    low, high = [y[k] - half[k] for k in known], [y[k] + half[k] for k in known]
    axes.vlines(at, low, high, colors=shown, linewidth=1.2)
    for ends in (low, high):
        axes.scatter(at, ends, marker="_", s=28, c=shown, linewidths=1.2)


def _bars(axes: Axes, panel: Panel, colours: Legend) -> None:
    """Bars one upon the other; many are drawn as steps, without hatches."""
    bars = [trace for trace in panel.traces if trace.kind == "bars"]
    floor = np.zeros(len(bars[0].x)) if bars else np.zeros(0)
    for number, trace in enumerate(bars):
        places, top = np.array(_places(trace, panel.x)), floor + np.nan_to_num(trace.y)
        colour = _colour(trace, colours)
        if len(places) > _SEPARATE:
            axes.fill_between(places, floor, top, step="mid", color=colour, linewidth=0)
        else:
            style: dict[str, Any] = {"hatch": _HATCHES[number % len(_HATCHES)], "edgecolor": "white", "linewidth": 0.3}
            axes.bar(places, top - floor, bottom=floor, width=0.78, color=colour, **style)
        floor = top


def _key(panel: Panel) -> list[Trace]:
    """The traces that a panel names under itself."""
    return list({t.name: t for t in panel.traces if panel.named and t.name and t.colour.startswith("hue")}.values())


def _draw_key(axes: Axes, panel: Panel, colours: Legend, below: float) -> None:
    for number, trace in enumerate(_key(panel)):
        y = -(below + (number + 0.55) * _ROW * 0.8) / _HIGH
        colour = colours.colour(trace.colour, "light", INKS)
        _sample(axes, trace, colour, number, y)
        axes.text(
            0.13, y, _cut(trace.name, _NAME), transform=axes.transAxes, fontsize=8.5, va="center", color=INKS["ink"]
        )


def _sample(axes: Axes, trace: Trace, colour: str, number: int, y: float) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle

    if trace.kind == "bars":
        place: dict[str, Any] = {
            "transform": axes.transAxes,
            "clip_on": False,
            "facecolor": colour,
            "edgecolor": "white",
        }
        axes.add_patch(Rectangle((0.02, y - 0.025), 0.08, 0.05, hatch=_HATCHES[number % len(_HATCHES)], **place))
        return
    dash: Any = (0, tuple(length / 2 for length in trace.dash)) if trace.dash else "-"
    axes.add_line(
        Line2D(
            [0.01, 0.11], [y, y], color=colour, linewidth=1.6, linestyle=dash, transform=axes.transAxes, clip_on=False
        )
    )


def _fits(width: float) -> int:
    """Characters of an entry in a figure of this width."""
    return min(_ENTRY, int((width - 1.1) / _CHARACTER))


def _legend_columns(colours: Legend, width: float) -> int:
    longest = max(len(_cut(entry.label, _fits(width))) for entry in colours.entries)
    return max(1, int((width - 0.4) / (longest * _CHARACTER + 0.65)))


def _legend_height(figure: Figure, colours: Legend, width: float) -> float:
    if not figure.legend or (not colours.entries and not any(colours.ends)):
        return 0.0
    if not colours.entries:
        return 0.5
    return -(-len(colours.entries) // _legend_columns(colours, width)) * _ROW + 0.2


def _draw_legend(canvas: Canvas, colours: Legend, width: float, height: float) -> None:
    from matplotlib.lines import Line2D

    slots = colours.slots["light"]
    if not colours.entries:
        _draw_scale(canvas, colours, width, height)
        return
    columns = _legend_columns(colours, width)
    each = (width - 0.4) / columns
    for number, entry in enumerate(colours.entries):
        row, column = divmod(number, columns)
        x, y = 0.2 + column * each, height - 0.2 - row * _ROW
        dash: Any = (0, tuple(0.35 * length for length in entry.dash)) if entry.dash else "-"
        ends = [x / width, (x + 0.36) / width]
        canvas.add_artist(Line2D(ends, [y / height] * 2, color=slots[entry.slot], linewidth=2.4, linestyle=dash))
        label = _cut(entry.label, _fits(width))
        canvas.text((x + 0.45) / width, y / height, label, fontsize=9.5, va="center", color=INKS["ink"])


def _draw_scale(canvas: Canvas, colours: Legend, width: float, height: float) -> None:
    from matplotlib.patches import Rectangle

    slots, left, wide = colours.slots["light"], 1.3, 2.6
    low, high = colours.ends
    y = (height - 0.34) / height
    for k, colour in enumerate(slots):
        box = ((left + wide * k / len(slots)) / width, y), 1.05 * wide / len(slots) / width, 0.16 / height
        canvas.add_artist(Rectangle(*box, color=colour, linewidth=0))
    for x, word, side in ((left - 0.1, low, "right"), (left + wide + 0.12, high, "left")):
        canvas.text(x / width, y + 0.08 / height, word, fontsize=9.5, va="center", ha=side, color=INKS["ink"])
