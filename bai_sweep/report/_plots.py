"""The report's figures as plain plotly.js data: no plotly object is needed to write them.

Colours are written as `slot:3` (the trial's, by its place) and `var:ink` (the page's CSS variable), which the page
fills in for the reader's theme.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from bai_sweep.records import TrialResult
from bai_sweep.report._comparison import score_of, swept, verdict
from bai_sweep.report._series import CURVES, Curve, Floats, onsets, series, smooth
from bai_sweep.report._study import StudyReport, alpha_of
from bai_sweep.report._table import plain

_LEGIBLE_GAP = 0.08  # between two ticks of alpha, below which plotly.js chooses the ticks


@dataclass(frozen=True)
class Plot:
    """A figure of the page: its element's id, its title and unit, plotly.js traces and layout."""

    key: str
    title: str
    unit: str
    traces: list[dict[str, Any]]
    layout: dict[str, Any]


def curve_plots(study: StudyReport) -> list[Plot]:
    """Reward, length and KL by step, the trials overlaid; a metric that no trial has gives no figure."""
    plots = []
    for curve in CURVES:
        traces = [trace for slot, result in enumerate(study.ordered) for trace in _curve(study, result, slot, curve)]
        if traces:
            last = max(trace["x"][-1] for trace in traces)
            axis = {"title": {"text": "PPO step"}, "range": [0, 1.02 * last]}
            layout = {"xaxis": axis, "hovermode": "closest"}
            plots.append(Plot(curve.metric.split("/")[-1], curve.title, curve.unit, traces, layout))
    return plots


def _curve(study: StudyReport, result: TrialResult, slot: int, curve: Curve) -> list[dict[str, Any]]:
    steps, values = series(result, curve.metric)
    if not len(steps):
        return []
    common = {"type": "scatter", "name": result.label, "meta": slot, "x": steps.tolist()}
    colour = f"slot:{slot}"
    raw = {
        **common,
        "y": _finite(values),
        "mode": "lines",
        "line": {"color": colour, "width": 1},
        "opacity": 0.3,
        "hoverinfo": "skip",
    }
    smoothed = {
        **common,
        "y": _finite(smooth(values)),
        "mode": "lines",
        "line": {"color": colour, "width": 3.5 if result is study.winner else 2},
        "hovertemplate": f"{_hover(result.label)}, step %{{x}}: %{{y:.3g}}<extra></extra>",
    }
    return [raw, smoothed, *_marks(result, slot, curve)]


def _marks(result: TrialResult, slot: int, curve: Curve) -> list[dict[str, Any]]:
    return [
        {
            "type": "scatter",
            "name": result.label,
            "meta": slot,
            "mode": "markers",
            "x": [verdict.onset],
            "y": [height],
            "marker": {
                "symbol": "x" if verdict.level == "certain" else "x-open",
                "size": 12,
                "color": f"slot:{slot}",
                "line": {"color": "var:paper", "width": 1.5},
            },
            "hovertemplate": f"{_hover(f'{result.label}: {verdict.detector} ({verdict.level})')}, "
            f"from step {verdict.onset}<extra></extra>",
        }
        for verdict, height in onsets(result, curve)
    ]


def score_plots(study: StudyReport) -> list[Plot]:
    """Overall and each benchmark against alpha, or by trial where alpha is not what was swept."""
    if not study.benchmarks:
        return []
    overall = [(r.report.overall, r.report.overall_stderr) for r in study.ordered]
    plots = [_score_plot(study, "overall", "Overall", overall)]
    for name in study.benchmarks:
        scores = [score_of(result, name) for result in study.ordered]
        points = [(math.nan, math.nan) if s is None else (s.value, s.stderr) for s in scores]
        plots.append(_score_plot(study, f"benchmark-{len(plots)}", name, points))
    return [plot for plot in plots if any(trace["y"] != [None] for trace in plot.traces)]


def _score_plot(study: StudyReport, key: str, title: str, points: Sequence[tuple[float, float]]) -> Plot:
    xs = axis_places(study)
    traces = [_point(study, slot, x, point) for slot, (x, point) in enumerate(zip(xs, points, strict=True))]
    if study.ratio_is_swept and len(set(xs)) == len(xs):
        line = {"color": "var:muted", "width": 1, "dash": "dot"}
        joined = {"type": "scatter", "mode": "lines", "x": xs, "y": _finite([value for value, _ in points])}
        traces.insert(0, {**joined, "line": line, "hoverinfo": "skip", "name": "", "meta": -1})
    return Plot(key, title, "points", traces, {"xaxis": _score_axis(study), "hovermode": "closest"})


def _point(study: StudyReport, slot: int, x: float | str, point: tuple[float, float]) -> dict[str, Any]:
    result, (value, error) = study.ordered[slot], point
    barred = study.choice is not None and result.number in study.choice.ineligible
    return {
        "type": "scatter",
        "name": result.label,
        "meta": slot,
        "mode": "markers",
        "x": [x],
        "y": _finite([value]),
        "error_y": {"array": _finite([error]), "color": f"slot:{slot}", "thickness": 1.5, "width": 4},
        "marker": {
            "symbol": "circle-open" if barred else "circle",
            "size": 15 if result is study.winner else 10,
            "color": f"slot:{slot}",
            "line": {"width": 2.5 if barred else 0, "color": f"slot:{slot}"},
        },
        "hovertemplate": f"{_hover(result.label)}: %{{y:.1f}} ± {error:.1f}, "
        f"{_hover(verdict(result.diagnosis))}<extra></extra>",
    }


def axis_places(study: StudyReport) -> list[Any]:
    """Where each trial stands on the x axis: its alpha, or its name."""
    if study.ratio_is_swept:
        return [alpha_of(result) for result in study.ordered]
    if len(swept(study)) == 1:
        return [plain(next(iter(result.params.values()), result.label)) for result in study.ordered]
    return [result.label for result in study.ordered]


def _score_axis(study: StudyReport) -> dict[str, Any]:
    if not study.ratio_is_swept:
        return {"type": "category"}
    axis: dict[str, Any] = {"title": {"text": "alpha, weight of the base model"}, "range": [-0.05, 1.05]}
    alphas = sorted({alpha_of(result) for result in study.ordered})
    if min(b - a for a, b in pairwise(alphas)) >= _LEGIBLE_GAP:
        axis |= {"tickvals": alphas}
    return axis


def _finite(values: Sequence[float] | Floats) -> list[float | None]:
    """JSON has no NaN; plotly.js draws a gap for null."""
    return [float(value) if math.isfinite(value) else None for value in values]


def _hover(text: str) -> str:
    """Plotly reads hover text as a small HTML, and `%{` as a place to fill."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("%{", "% {")
