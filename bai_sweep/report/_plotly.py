"""A figure as plain plotly.js data: no plotly object is needed to write it. The page fills in the colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bai_sweep.report._spec import HOLLOW, Axis, Panel, Trace, batches

_SYMBOLS = {
    "disc": "circle",
    "ring": "circle-open",
    "cross": "x",
    "open cross": "x-open",
    "triangle": "triangle-up-open",
}
PATTERNS = ("", "/", ".", "\\", "x", "-", "|", "+")
_ALONE = 48
"""Dots up to which each point has a trace of its own, which the legend hides and shows."""


def plot(panel: Panel) -> dict[str, Any]:
    """A panel's element, traces and layout."""
    layout: dict[str, Any] = {"xaxis": _axis(panel.x), "yaxis": _axis(panel.y), "hovermode": "closest"}
    bars = [trace for trace in panel.traces if trace.kind == "bars"]
    dots = [trace for trace in panel.traces if trace.kind == "dots"]
    if bars:
        layout["barmode"] = "stack"
    traces = [_line(trace) for trace in panel.traces if trace.kind == "line"]
    traces += [_bars(trace, place) for place, trace in enumerate(bars)]
    groups = batches(dots) if len(dots) > _ALONE else [[trace] for trace in dots]
    return {"key": panel.key, "traces": traces + [_dots(group) for group in groups], "layout": layout}


def _common(kind: str, trace: Trace) -> dict[str, Any]:
    """What all kinds have; `meta` is the slot that the legend hides."""
    space, _, which = trace.colour.partition(":")
    slot = int(which) if space == "slot" else -1
    told = {"hovertemplate": f"{trace.hover}<extra></extra>"} if trace.hover else {"hoverinfo": "skip"}
    return {"type": kind, "name": trace.name, "meta": slot, "x": list(trace.x), "y": finite(trace.y), **told}


def _line(trace: Trace) -> dict[str, Any]:
    dash = ",".join(f"{length}px" for length in trace.dash) or "solid"
    line = {"color": trace.colour, "width": trace.width, "dash": dash, "shape": "hv" if trace.steps else "linear"}
    return {**_common("scatter", trace), "mode": "lines", "line": line, "opacity": trace.opacity}


def _dots(group: Sequence[Trace]) -> dict[str, Any]:
    """One trace of dots that differ in place, colour and words only."""
    first, many = group[0], len(group) > 1
    shades = [trace.colour for trace in group for _ in trace.x]
    colour: Any = shades if many else first.colour
    edge = {"width": 2.5, "color": colour} if first.symbol in HOLLOW else {"width": 0}
    if first.symbol == "cross":
        edge = {"width": 1.5, "color": "var:paper"}
    found = _common("scatter", first) | {
        "mode": "markers",
        "opacity": first.opacity,
        "marker": {"symbol": _SYMBOLS[first.symbol], "size": first.size, "color": colour, "line": edge},
    }
    if many:
        told = [f"{trace.hover}<extra></extra>" if trace.hover else "" for trace in group for _ in trace.x]
        found |= {"meta": -1, "name": "", "hovertemplate": told, "x": [x for trace in group for x in trace.x]}
        found["y"] = finite([y for trace in group for y in trace.y])
    errors = [error for trace in group for error in (trace.error or (math.nan,) * len(trace.x))]
    if any(map(math.isfinite, errors)):
        shade = "var:muted" if many else first.colour
        found["error_y"] = {"array": finite(errors), "color": shade, "thickness": 1 if many else 1.5, "width": 4}
    words = [word for trace in group for word in (trace.labels or ("",) * len(trace.x))]
    if any(words):
        style = {"textposition": "top center", "textfont": {"color": "var:ink", "size": 11}}
        found |= {"mode": "markers+text", "cliponaxis": False, "text": words, **style}
    return found


def _bars(trace: Trace, place: int) -> dict[str, Any]:
    shape = PATTERNS[place % len(PATTERNS)] if len(trace.x) <= _ALONE else ""
    pattern = {"shape": shape, "fillmode": "overlay", "fgcolor": "var:paper", "fgopacity": 0.6, "size": 6}
    return {**_common("bar", trace), "marker": {"color": trace.colour, "pattern": pattern}}


def _axis(axis: Axis) -> dict[str, Any]:
    found: dict[str, Any] = {"title": {"text": axis.title}} if axis.title else {}
    if axis.categories:
        return found | {"type": "category", "categoryorder": "array", "categoryarray": list(axis.categories)}
    if axis.low is not None and axis.high is not None:
        found["range"] = [axis.low, axis.high]
    elif axis.low is not None:
        found["rangemode"] = "tozero"
    if axis.ticks:
        found["tickvals"] = list(axis.ticks)
    return found


def finite(values: Sequence[float]) -> list[float | None]:
    """JSON has no NaN, and plotly.js draws a gap for null; five digits are more than a screen shows."""
    return [float(f"{value:.5g}") if math.isfinite(value) else None for value in values]
