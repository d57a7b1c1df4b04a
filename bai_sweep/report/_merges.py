"""How the merges lie to the base and the SFT models, from what each trial recorded of its own merge."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bai_sweep.report._cost import names_of
from bai_sweep.report._points import dash_of, places
from bai_sweep.report._scores import score_axis
from bai_sweep.report._spec import DASHES, Axis, Figure, Panel, Trace
from bai_sweep.report._study import Point, StudyReport
from bai_sweep.report._text import hover
from bai_sweep.report._training import drawn

MERGE = "merge"
Summary = Mapping[str, Any]


def geometry_figure(study: StudyReport) -> Figure | None:
    """Distance and angle to the base by ratio, by layer, and between the SFT models; else the recipes' weights."""
    known = [point for point in study.finished if _summary(study, point) is not None]
    based = [point for point in known if _tasks(study, point)]
    panels = [panel for panel in (_distance(study, based), _angle(study, based), *_layers(study, based)) if panel]
    if panels:
        note = (
            "Distances are L2 norms over all weights (of large tensors a sample), as a share of the base's norm; a "
            "task vector is a model less the base. Two SFT models whose task vectors have a small cosine, or opposite "
            "signs in many elements, pull the merge apart. Layers go from first to last."
        )
        return Figure("merge_geometry", "Merge geometry", tuple(panels), note)
    weights = _weights(study)
    if weights is None:
        return None
    note = "The share of each checkpoint in the merge, from its recipe. These trials recorded no geometry."
    return Figure("merge_geometry", "The merges", (weights,), note, legend=False)


def _summary(study: StudyReport, point: Point) -> Summary | None:
    found: Sequence[Summary] = [study.geometry[r.number] for r in point.trials if r.number in study.geometry]
    return found[0] if found else None


def _tasks(study: StudyReport, point: Point) -> Mapping[str, Any]:
    summary = _summary(study, point)
    return (summary or {}).get("total", {}).get("task_vectors") or {}


def _distance(study: StudyReport, shown: Sequence[Point]) -> Panel | None:
    if not shown:
        return None
    xs = places(study, shown)
    dots = [
        Trace(
            (x,),
            (_number(_tasks(study, p)["relative"].get(MERGE)),),
            p.colour,
            "dots",
            p.label,
            hover=f"{hover(p.label)}: %{{y:.3g}}",
        )
        for p, x in zip(shown, xs, strict=True)
    ]
    models = _models(study, shown)
    lines = [
        Trace(
            tuple(xs),
            tuple(_number(_tasks(study, p)["relative"].get(name)) for p in shown),
            f"hue:{k}",
            name=name,
            dash=DASHES[k % len(DASHES)],
            width=1.5,
        )
        for k, name in enumerate(models)
    ]
    return Panel(
        "geometry-distance",
        "Distance from the base",
        "of its norm",
        (*lines, *dots),
        score_axis(study, shown),
        Axis(low=0.0),
        named=True,
    )


def _angle(study: StudyReport, shown: Sequence[Point]) -> Panel | None:
    xs = places(study, shown)
    lines = []
    for k, name in enumerate(_models(study, shown)):
        cosines = tuple(_number(_tasks(study, p)["cosines"].get(f"{name}~{MERGE}")) for p in shown)
        if any(map(math.isfinite, cosines)):
            colour, told = f"hue:{k}", f"merge and {hover(name)}: %{{y:.3f}}"
            lines += [
                Trace(tuple(xs), cosines, colour, name=name, dash=DASHES[k % len(DASHES)], width=1.5),
                Trace(tuple(xs), cosines, colour, "dots", size=7, hover=told),
            ]
    if not lines:
        return None
    return Panel(
        "geometry-angle",
        "Merge's task vector",
        "cosine to the SFT models'",
        tuple(lines),
        score_axis(study, shown),
        named=True,
    )


def _layers(study: StudyReport, based: Sequence[Point]) -> list[Panel]:
    if not based:
        return []
    chosen = {point.slot for point in drawn(study)}
    shown = [point for point in based if point.slot in chosen] or based[:1]
    count = len(study.points)
    rows = {point.slot: (_summary(study, point) or {})["layers"] for point in shown}
    names = tuple(str(row["layer"]) for row in rows[shown[0].slot])
    lines = [
        Trace(
            names,
            tuple(_number(row["task_vectors"]["relative"].get(MERGE)) for row in rows[p.slot]),
            p.colour,
            name=p.label,
            dash=dash_of(p, count),
            hover=f"{hover(p.label)}, layer %{{x}}: %{{y:.3g}}",
        )
        for p in shown
    ]
    axis = Axis("layer", categories=names)
    panels = [Panel("geometry-layers", "Distance by layer", "of the base's norm", tuple(lines), axis, Axis(low=0.0))]
    between = _between(max(rows.values(), key=lambda found: len(found[0]["conflict"] or ())), names)
    if between:
        panels.append(Panel("geometry-conflict", "Between the SFT models", "", tuple(between), axis, named=True))
    return panels


def _between(rows: Sequence[Summary], names: tuple[str, ...]) -> list[Trace]:
    """Cosine and sign conflict of each two SFT models' task vectors, layer by layer."""
    traces: list[Trace] = []
    for pair in rows[0]["conflict"] or ():
        found = {
            "cosine": tuple(_number(row["task_vectors"]["cosines"].get(pair)) for row in rows),
            "signs that differ": tuple(_number(row["conflict"][pair]["share"]) for row in rows),
        }
        for what, heights in found.items():
            k = len(traces) % len(DASHES)
            name = f"{pair.replace('~', ', ')}: {what}"
            traces.append(
                Trace(names, heights, f"hue:{k}", name=name, dash=DASHES[k], hover=f"{hover(name)} %{{y:.3f}}")
            )
    return traces


def _weights(study: StudyReport) -> Panel | None:
    shown = study.finished
    recipes = sorted((point.first.recipe.weights for point in shown), key=len, reverse=True)
    names = list(dict.fromkeys(name for weights in recipes for name in weights))
    if len(names) < 2 or len(shown) < 2:
        return None
    labels = names_of(study, shown)
    bars = tuple(
        Trace(
            labels,
            tuple(p.first.recipe.weights.get(name, 0.0) for p in shown),
            f"hue:{k}",
            "bars",
            name,
            hover=f"{hover(name)} %{{y:.3g}} of %{{x}}",
        )
        for k, name in enumerate(names)
    )
    return Panel("merge-weights", "Weights", "share of each checkpoint", bars, Axis(categories=labels), named=True)


def _models(study: StudyReport, shown: Sequence[Point]) -> list[str]:
    return list(dict.fromkeys(name for point in shown for name in _tasks(study, point)["relative"] if name != MERGE))


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
