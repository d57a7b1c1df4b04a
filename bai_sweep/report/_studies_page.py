"""The page of several studies: report.html and the figures' files of a comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from bai_sweep.report._figures import draw_all
from bai_sweep.report._gallery import Entry, Legend, legend_of
from bai_sweep.report._html import for_paper, page
from bai_sweep.report._markdown import table_markdown
from bai_sweep.report._parts import figure_html, table_html
from bai_sweep.report._points import score
from bai_sweep.report._scores import ALPHA, slug
from bai_sweep.report._series import CURVES, DYNAMICS, Curve, mean_series, thinned
from bai_sweep.report._spec import DASHES, Axis, Figure, Panel, Trace
from bai_sweep.report._studies import (
    Comparison,
    Paired,
    Side,
    best_table,
    mean_name,
    mean_score,
    paired_table,
    settings_table,
)
from bai_sweep.report._table import Table
from bai_sweep.report._text import hover, text
from bai_sweep.report._write import write_text

_HOLM = (
    "The first less the second, points, over the same items: interval by bootstrap, p by permutation, corrected for "
    "all rows together. That is the noise of the items; ± seeds is the standard error that the training seeds add, "
    "where points were run with several."
)


def write_comparison(comparison: Comparison, entries: Sequence[Paired], folder: Path) -> Path:
    """Writes report.html, report.md and figures/ of a comparison with its paired differences; returns the page."""
    figures, colours = comparison_figures(comparison), _legend(comparison)
    images = draw_all(figures, colours, folder / "figures")
    write_text(folder / "report.md", _markdown(comparison, entries, figures))
    body = _body(comparison, entries, figures, colours, for_paper(images))
    return write_text(folder / "report.html", page(" against ".join(comparison.names), body, figures, colours))


def comparison_figures(comparison: Comparison) -> tuple[Figure, ...]:
    """Score against alpha by study, and the curves of each study's best point."""
    found = (_score_figure(comparison), _curve_figure(comparison))
    return tuple(figure for figure in found if figure is not None)


def _legend(comparison: Comparison) -> Legend:
    return legend_of([Entry(name, slot, DASHES[slot % len(DASHES)]) for slot, name in enumerate(comparison.names)])


def _score_figure(comparison: Comparison) -> Figure | None:
    panels = tuple(_score_panel(comparison, name) for name in (mean_name(comparison), *comparison.shared))
    if not any(math.isfinite(y) for panel in panels for trace in panel.traces for y in trace.y):
        return None
    swept = all(side.study.ratio_is_swept for side in comparison.sides)
    title = "Score against alpha" if swept else "Scores"
    note = "Bars are 95 % intervals of the items and, where points were run with several seeds, of the seeds."
    if not swept:
        note += " A study that did not sweep alpha stands at its points' names."
    return Figure("score_vs_alpha", title, panels, note)


def _score_panel(comparison: Comparison, name: str) -> Panel:
    numeric = all(side.study.ratio_is_swept for side in comparison.sides)
    traces = tuple(chain(*(_scores(comparison, slot, name, numeric) for slot in range(len(comparison.sides)))))
    places = list(dict.fromkeys(str(x) for trace in traces for x in trace.x))
    axis = Axis(ALPHA) if numeric else Axis(categories=tuple(places))
    return Panel(f"compare-{slug(name)}", name, "points", traces, axis)


def _scores(comparison: Comparison, slot: int, name: str, numeric: bool) -> list[Trace]:
    side, shared = comparison.sides[slot], comparison.shared
    points = side.study.finished
    found = [
        mean_score(side, p, shared, not comparison.absent)
        if name == mean_name(comparison)
        else score(side.study, p, name)
        for p in points
    ]
    xs = tuple(p.alpha if numeric else p.label for p in points)
    heights, half = tuple(one.value for one in found), tuple(one.half for one in found)
    colour, told = f"slot:{slot}", f"{hover(side.study.name)}, %{{x}}: %{{y:.1f}}"
    dots = Trace(xs, heights, colour, "dots", side.study.name, error=half, size=9, hover=told)
    best = [k for k, point in enumerate(points) if side.best is not None and point.slot == side.best.slot]
    ring = Trace(
        tuple(xs[k] for k in best), tuple(heights[k] for k in best), colour, "dots", "best", symbol="ring", size=17
    )
    line = Trace(xs, heights, colour, width=1.5, dash=DASHES[slot % len(DASHES)])
    return [line, dots, ring] if numeric else [dots, ring]


def _curve_figure(comparison: Comparison) -> Figure | None:
    panels = [panel for curve in (*CURVES, *DYNAMICS) if (panel := _curve_panel(comparison, curve)) is not None]
    if not panels:
        return None
    note = "Of each study the point with a ring above; moving means, of several seeds over them."
    return Figure("curves", "Training of the best of each", tuple(panels), note)


def _curve_panel(comparison: Comparison, curve: Curve) -> Panel | None:
    traces = []
    for slot, side in enumerate(comparison.sides):
        steps, values = thinned(*mean_series(side.best.trials, curve.metric)) if side.best else ((), ())
        if len(steps):
            name = f"{side.study.name}: {side.best.label}" if side.best else ""
            told = f"{hover(name)}, step %{{x}}: %{{y:.3g}}"
            line = Trace(tuple(map(float, steps)), tuple(map(float, values)), f"slot:{slot}", name=name, hover=told)
            traces.append(line if slot >= len(DASHES) else _dashed(line, slot))
    if not traces:
        return None
    return Panel(f"best-{curve.metric.replace('/', '-')}", curve.title, curve.unit, tuple(traces), Axis("PPO step"))


def _dashed(line: Trace, slot: int) -> Trace:
    return Trace(line.x, line.y, line.colour, name=line.name, dash=DASHES[slot], hover=line.hover)


def _body(
    comparison: Comparison,
    entries: Sequence[Paired],
    figures: Sequence[Figure],
    colours: Legend,
    images: Mapping[str, str],
) -> str:
    drawn = "".join(
        f"<section><h2>{text(figure.title)}</h2>{figure_html(figure, colours, images.get(figure.key, ''))}</section>"
        for figure in figures
    )
    names = " <span class=pick>against</span> ".join(text(name) for name in comparison.names)
    return f"""<header class="decision"><p class="kicker">{len(comparison.sides)} studies</p><h1>{names}</h1>
{"".join(f"<p class=small>{text(line)}</p>" for line in _reservations(comparison))}</header>
<section><h2>The best of each</h2>{table_html(best_table(comparison))}
{"".join(f"<p><b>{text(side.study.name)}</b>: {text(_reason(side))}</p>" for side in comparison.sides)}</section>
<section><h2>Paired differences</h2>{table_html(paired_table(entries))}<p class="small">{_HOLM}</p></section>
{drawn}
<section><h2>Settings that differ</h2>{table_html(_shown(settings_table(comparison)))}</section>
"""


def _reservations(comparison: Comparison) -> list[str]:
    """What cannot be compared."""
    return [
        f"{name} is not compared: {', '.join(lacking)} {'has' if len(lacking) == 1 else 'have'} no score of it."
        for name, lacking in comparison.absent.items()
    ] + [f"{side.study.name} has not ended." for side in comparison.sides if side.study.pending]


def _reason(side: Side) -> str:
    return side.study.choice.reason if side.study.choice else "nothing is recommended"


def _shown(table: Table) -> Table:
    """Long values cut."""
    rows = tuple(tuple(cell if len(cell) <= 80 else f"{cell[:77]}..." for cell in row) for row in table.rows)
    return Table(table.columns, rows, table.best, table.note)


def _markdown(comparison: Comparison, entries: Sequence[Paired], figures: Sequence[Figure]) -> str:
    parts = [f"### {' against '.join(comparison.names)}", *_reservations(comparison)]
    parts += [
        table_markdown(best_table(comparison)),
        "#### Paired differences",
        table_markdown(paired_table(entries)),
        _HOLM,
    ]
    parts += [f"#### {figure.title}\n\n![{figure.title}](figures/{figure.key}.png)" for figure in figures]
    settings = settings_table(comparison)
    parts += ["#### Settings that differ", table_markdown(_shown(settings)) if settings.rows else settings.note]
    return "\n\n".join(parts) + "\n"
