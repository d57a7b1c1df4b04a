"""Curves of training, the points overlaid, with marks where faults began and ended; KL against reward."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from bai_sweep.records import TrialResult
from bai_sweep.report._palette import FEW
from bai_sweep.report._points import dash_of, is_winner
from bai_sweep.report._series import CURVES, DYNAMICS, Curve, Floats, marks, mean_series, series, smooth, thinned
from bai_sweep.report._spec import Axis, Figure, Panel, Trace
from bai_sweep.report._study import Point, StudyReport
from bai_sweep.report._table import plain
from bai_sweep.report._text import hover

MOST = 24
"""Points whose curves are drawn; more can neither be told apart nor be loaded quickly."""

_HOW = (
    "Thick: moving mean, of a point with several seeds over its seeds; thin: {thin}. A cross marks the step at which "
    "a fault began (filled: certain, open: suspected), a triangle the step at which it was over."
)


def training_figure(study: StudyReport) -> Figure | None:
    """Reward, length and KL by step."""
    return _curves(study, "curves", "Training", CURVES)


def dynamics_figure(study: StudyReport) -> Figure | None:
    """Entropy, clipped ratio, repetition and explained variance by step, as far as the telemetry has them."""
    return _curves(study, "dynamics", "More of the telemetry", DYNAMICS)


def drawn(study: StudyReport) -> tuple[Point, ...]:
    """The points whose curves are drawn: all, or of many the recommended one and others evenly in their order."""
    trained = [p for p in study.points if any(r.telemetry for r in (*p.trials, *p.running))]
    if len(trained) <= MOST:
        return tuple(trained)
    kept = {int(k) for k in np.linspace(0, len(trained) - 1, MOST).round()}
    winner = next((k for k, point in enumerate(trained) if is_winner(study, point)), None)
    if winner is not None and winner not in kept:
        kept.discard(min(kept - {0, len(trained) - 1}, key=lambda k: abs(k - winner)))
        kept.add(winner)
    return tuple(trained[k] for k in sorted(kept))


def left_out(study: StudyReport) -> str:
    """What is said where not all points are drawn."""
    trained = [p for p in study.points if any(r.telemetry for r in (*p.trials, *p.running))]
    if len(trained) <= MOST:
        return ""
    order = "alpha" if study.ratio_is_swept else "the trials"
    winner = "the recommended one and others" if study.winner else "these"
    return f"{MOST} of {len(trained)} points are drawn: {winner}, evenly in the order of {order}."


def _curves(study: StudyReport, key: str, title: str, curves: Sequence[Curve]) -> Figure | None:
    shown = drawn(study)
    panels = [panel for curve in curves if (panel := _panel(study, shown, curve)) is not None]
    if not panels:
        return None
    seeds = any(len(point.trials) + len(point.running) > 1 for point in shown)
    many = len(study.points) > FEW
    thin = "each seed" if seeds else "as measured"
    how = _HOW.format(thin=thin) if not many else _HOW.format(thin="").replace("; thin: ", "")
    going = "Half transparent: still running." if any(not p.trials for p in shown) else ""
    return Figure(key, title, tuple(panels), " ".join(part for part in (left_out(study), how, going) if part))


def _panel(study: StudyReport, shown: Sequence[Point], curve: Curve) -> Panel | None:
    traces = [trace for point in shown for trace in _of_point(study, point, curve)]
    if not traces:
        return None
    last = max(float(trace.x[-1]) for trace in traces)
    axis = Axis("PPO step", 0, 1.02 * last)
    return Panel(curve.metric.replace("/", "-"), curve.title, curve.unit, tuple(traces), axis)


def _of_point(study: StudyReport, point: Point, curve: Curve) -> Iterator[Trace]:
    trials, count = (*point.trials, *point.running), len(study.points)
    yield from _thin(point, trials, curve, few=count <= FEW)
    steps, values = thinned(*mean_series(trials, curve.metric))
    if len(steps):
        yield Trace(
            tuple(steps.tolist()),
            tuple(values.tolist()),
            point.colour,
            name=point.label,
            width=3.5 if is_winner(study, point) else 2,
            dash=dash_of(point, count),
            opacity=1.0 if point.trials else 0.5,
            hover=f"{hover(point.label)}, step %{{x}}: %{{y:.3g}}",
        )
    for result in trials:
        yield from _marks(point, result, curve)


def _thin(point: Point, trials: Sequence[TrialResult], curve: Curve, few: bool) -> Iterator[Trace]:
    """Each seed smoothed, or the single trial as it was measured; of many points neither."""
    for result in trials if few else ():
        steps, values = series(result, curve.metric)
        steps, values = thinned(steps, smooth(values) if len(trials) > 1 else values)
        if len(steps):
            yield _line(point, steps, values)


def _line(point: Point, steps: Floats, values: Floats) -> Trace:
    return Trace(tuple(steps.tolist()), tuple(values.tolist()), point.colour, width=1, opacity=0.35)


def _marks(point: Point, result: TrialResult, curve: Curve) -> Iterator[Trace]:
    for verdict, step, height in marks(result, curve):
        began = step == verdict.onset
        crossed = "cross" if verdict.level == "certain" else "open cross"
        seed = f", seed {result.seed}" if len(point.trials) + len(point.running) > 1 else ""
        what = f"{point.label}{seed}: {verdict.detector.replace('_', ' ')} ({verdict.level})"
        yield Trace(
            (step,),
            (height,),
            point.colour,
            "dots",
            name="onset" if began else "recovery",
            symbol=crossed if began else "triangle",  # type: ignore[arg-type]
            size=12 if began else 11,
            hover=f"{hover(what)} {'from' if began else 'over at'} step {step}",
        )


def trajectory_figure(study: StudyReport) -> Figure | None:
    """KL against reward along training, a line for each point."""
    reward, kl = CURVES[0], CURVES[2]
    traces = [trace for point in drawn(study) for trace in _trajectory(study, point)]
    if not traces:
        return None
    panel = Panel(
        "kl-reward", "Reward against KL", "", tuple(traces), Axis(f"KL, {kl.unit}"), Axis(f"reward, {reward.unit}")
    )
    note = (
        "Each line is a training run from its start (small dot) to its end (disc), moving means. Higher is a better "
        "reward, further right is further from the model that PPO started from: of two that reach the same reward, "
        "the left one paid less for it."
    )
    return Figure("kl_vs_reward", "Reward bought with KL", (panel,), " ".join(filter(None, (left_out(study), note))))


def _trajectory(study: StudyReport, point: Point) -> Iterator[Trace]:
    trials = (*point.trials, *point.running)
    (at, rewards), (also, kl) = (mean_series(trials, curve.metric, calm=True) for curve in (CURVES[0], CURVES[2]))
    shared = np.intersect1d(at, also)
    if not len(shared):
        return
    _, y = thinned(shared, rewards[np.isin(at, shared)])
    _, x = thinned(shared, kl[np.isin(also, shared)])
    few = len(study.points) <= FEW
    yield Trace(
        tuple(x.tolist()),
        tuple(y.tolist()),
        point.colour,
        name=point.label,
        width=3.5 if is_winner(study, point) else 2,
        dash=dash_of(point, len(study.points)),
        hover=f"{hover(point.label)}: KL %{{x:.2f}}, reward %{{y:.3g}}",
    )
    yield Trace((x[0],), (y[0],), point.colour, "dots", "start", size=6)
    end = Trace((x[-1],), (y[-1],), point.colour, "dots", "end", size=12, labels=(short(point),) if few else ())
    if math.isfinite(end.y[0]):
        yield end


def short(point: Point) -> str:
    """A label that fits beside a dot: the value alone of a single swept key, else the number of its first trial."""
    label = point.label
    others = {key: value for key, value in point.first.params.items() if key != "seed"}
    if len(others) == 1:
        label = plain(next(iter(others.values())))
    return label if len(label) <= 14 else f"#{point.first.number}"
