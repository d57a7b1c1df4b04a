"""Score against alpha, overall and of each benchmark, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from bai_sweep.report._points import Estimate, is_barred, is_winner, places, score
from bai_sweep.report._spec import DOTTED, Axis, Figure, Panel, Place, Trace
from bai_sweep.report._study import OVERALL, Point, StudyReport
from bai_sweep.report._text import hover

ALPHA = "alpha, weight of the base model"
_LEGIBLE_GAP = 0.08  # of the axis, between two ticks of alpha; below it whoever draws chooses the ticks


def score_figure(study: StudyReport) -> Figure | None:
    """Overall and each benchmark against alpha, or by point where alpha is not what was swept."""
    shown = study.finished
    panels = [_panel(study, shown, name) for name in (OVERALL, *study.benchmarks)]
    panels = [panel for panel in panels if any(math.isfinite(y) for trace in panel.traces for y in trace.y)]
    if not panels:
        return None
    title = "Score against alpha" if study.ratio_is_swept else "Scores"
    note = (
        "Bars are 95 % intervals: the noise of the items and, where a point was run with several seeds, of the seeds. "
        "Small dots are the single seeds. The larger disc is the recommended point; a ring is one that may not win."
    )
    return Figure("score_vs_alpha", title, tuple(panels), note, legend=not study.ratio_is_swept)


def _panel(study: StudyReport, shown: Sequence[Point], name: str) -> Panel:
    xs = places(study, shown)
    found = [score(study, point, name) for point in shown]
    traces = [trace for triple in zip(shown, xs, found, strict=True) for trace in _dots(study, *triple)]
    if study.ratio_is_swept and len(set(xs)) == len(xs):
        heights = tuple(one.value for one in found)
        traces.insert(0, Trace(tuple(xs), heights, "var:muted", width=1, dash=DOTTED))
    title = "Overall" if name == OVERALL else name
    return Panel(f"score-{slug(name)}", title, "points", tuple(traces), score_axis(study, shown))


def _dots(study: StudyReport, point: Point, x: Place, found: Estimate) -> list[Trace]:
    told = f"{hover(point.label)}: %{{y:.1f}} ± {found.half:.1f}" if math.isfinite(found.half) else "%{y:.1f}"
    mean = Trace(
        (x,),
        (found.value,),
        point.colour,
        "dots",
        point.label,
        error=(found.half,),
        symbol="ring" if is_barred(study, point) else "disc",
        size=15 if is_winner(study, point) else 10,
        hover=told,
    )
    if len(found.singles) < 2:
        return [mean]
    several = (x,) * len(found.singles)
    return [Trace(several, found.singles, point.colour, "dots", "seeds", size=4.5, opacity=0.6), mean]


def score_axis(study: StudyReport, shown: Sequence[Point]) -> Axis:
    """Alpha as far as it was tried, or the points' names."""
    if not study.ratio_is_swept:
        return Axis(categories=tuple(dict.fromkeys(map(str, places(study, shown)))))
    alphas = [point.alpha for point in shown]
    low, high = min(alphas), max(alphas)
    room = 0.06 * ((high - low) or 1.0)
    return Axis(ALPHA, low - room, high + room, ticks(alphas))


def ticks(alphas: Sequence[float]) -> tuple[float, ...]:
    """At every ratio, if they are far enough apart."""
    kept = tuple(sorted(set(alphas)))
    span = kept[-1] - kept[0]
    apart = all(b - a >= _LEGIBLE_GAP * span for a, b in pairwise(kept))
    return kept if apart and len(kept) > 1 else ()


def slug(name: str) -> str:
    """A name as part of an element's id."""
    return "".join(c if c.isalnum() else "-" for c in name.lower())
