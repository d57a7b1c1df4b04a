"""Score against stability, and whatever else a study optimises, with the front that no point beats."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bai_sweep.report._points import Estimate, is_barred, is_winner, mean_of, score
from bai_sweep.report._spec import DOTTED, Axis, Figure, Panel, Trace
from bai_sweep.report._study import OVERALL, Point, StudyReport
from bai_sweep.report._text import hover
from bai_sweep.report._training import short

_LABELLED = 12  # points beside which there is room for a word


def tradeoff_figure(study: StudyReport) -> Figure | None:
    """Overall score against the worst severity and against the final KL, then the study's own objectives."""
    shown = study.finished
    overall = [score(study, point, OVERALL) for point in shown]
    severity = [Estimate(mean_of(point, lambda r: r.diagnosis.worst_severity)) for point in shown]
    kl = [Estimate(mean_of(point, lambda r: r.diagnosis.final_kl)) for point in shown]
    named = ("overall score, points", "maximize", overall)
    panels = [
        _panel(study, shown, "stability", ("worst severity (0: no fault)", "minimize", severity), named),
        _panel(study, shown, "kl", ("final KL, nats per sequence", "minimize", kl), named),
        *_objectives(study, shown),
    ]
    kept = tuple(panel for panel in panels if panel is not None)
    if not kept:
        return None
    note = (
        "The line is the front: no other point is better in both. Severity is the largest of a trial's detectors, so "
        "that a point is as stable as its worst fault says; of several seeds means are drawn. Bars are 95 % intervals "
        "of the score. A ring is a point that may not win, the larger disc the recommended one."
    )
    return Figure("score_vs_stability", "Score against stability", kept, note)


Quantity = tuple[str, str, Sequence[Estimate]]
"""A name with its unit, `maximize` or `minimize`, and the value of each point."""


def _objectives(study: StudyReport, shown: Sequence[Point]) -> list[Panel | None]:
    """The first objective against each other one, but for what the first two panels show."""
    if len(study.objectives) < 2:
        return []
    (first, way), *others = study.objectives
    y = (first, way, _means(shown, first))
    return [
        _panel(study, shown, f"objective-{k}", (name, towards, _means(shown, name)), y)
        for k, (name, towards) in enumerate(others, 1)
        if (first, name) != ("eval/overall", "objective/final_kl")
    ]


def _means(shown: Sequence[Point], metric: str) -> list[Estimate]:
    return [Estimate(mean_of(point, lambda result: result.metrics().get(metric, math.nan))) for point in shown]


def _panel(study: StudyReport, shown: Sequence[Point], key: str, x: Quantity, y: Quantity) -> Panel | None:
    (across, x_way, xs), (up, y_way, ys) = x, y
    known = [k for k in range(len(shown)) if math.isfinite(xs[k].value) and math.isfinite(ys[k].value)]
    if len(known) < 2:
        return None
    best = front([(xs[k].value, ys[k].value) for k in known], (x_way, y_way))
    traces = [_front([known[k] for k in best], xs, ys)] if len(best) > 1 else []
    labelled = set(known) if len(known) <= _LABELLED else {known[k] for k in best}
    traces += [_dot(study, shown[k], xs[k], ys[k], k in labelled) for k in known]
    title = f"{up.partition(',')[0].capitalize()} and {across.partition(',')[0].partition(' (')[0]}"
    return Panel(f"tradeoff-{key}", title, "", tuple(traces), Axis(across), Axis(up))


def _front(places: Sequence[int], xs: Sequence[Estimate], ys: Sequence[Estimate]) -> Trace:
    line = sorted((xs[k].value, ys[k].value) for k in places)
    return Trace(
        tuple(x for x, _ in line),
        tuple(y for _, y in line),
        "var:ink",
        name="front",
        width=1.5,
        dash=DOTTED,
        steps=True,
    )


def _dot(study: StudyReport, point: Point, x: Estimate, y: Estimate, labelled: bool) -> Trace:
    return Trace(
        (x.value,),
        (y.value,),
        point.colour,
        "dots",
        point.label,
        error=(y.half,),
        symbol="ring" if is_barred(study, point) else "disc",
        size=15 if is_winner(study, point) else 10,
        labels=(short(point),) if labelled else (),
        hover=f"{hover(point.label)}: %{{x:.3g}}, %{{y:.4g}}",
    )


def front(pairs: Sequence[tuple[float, float]], ways: tuple[str, str]) -> list[int]:
    """The places of the pairs that no other pair beats: one as good in both, and better in one."""
    signs = [1.0 if way == "maximize" else -1.0 for way in ways]
    scored = [tuple(sign * value for sign, value in zip(signs, pair, strict=True)) for pair in pairs]
    return [
        k
        for k, own in enumerate(scored)
        if not any(other != own and all(a >= b for a, b in zip(other, own, strict=True)) for other in scored)
    ]
