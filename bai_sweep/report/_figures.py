"""The same figures as PNG files, for MLflow's artifacts and for a README."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bai_sweep.report._comparison import score_of
from bai_sweep.report._palette import palette
from bai_sweep.report._plots import axis_places
from bai_sweep.report._series import CURVES, Curve, onsets, series, smooth
from bai_sweep.report._study import StudyReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FEW = 6  # ratios whose ticks do not run into each other
_INK, _MUTED, _LINE = "#1c1e21", "#5f6670", "#dfe3e8"


def write_figures(study: StudyReport, folder: Path) -> list[Path]:
    """Writes curves.png (reward, length, KL by step) and score_vs_alpha.png, where there is something to show."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {"curves.png": _curves(study), "score_vs_alpha.png": _scores(study)}
    return [_save(figure, folder / name) for name, figure in drawn.items() if figure is not None]


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=150, facecolor="white")
    return path


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    # No pyplot: it keeps figures and a backend as global state, and may look for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = 4 if count in (4, 7, 8) else 3
    rows = -(-count // columns)
    figure = Figure(figsize=(12, 3.4 * rows + 0.5), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)  # type: ignore[union-attr, call-arg]
    FigureCanvasAgg(figure)
    axes: list[Any] = list(np.ravel(figure.subplots(rows, columns, squeeze=False)))
    for spare in axes[count:]:
        spare.set_axis_off()
    for panel in axes[:count]:
        panel.spines[["top", "right"]].set_visible(False)
        panel.spines[["left", "bottom"]].set_color(_LINE)
        panel.tick_params(colors=_MUTED, labelsize=9)
        panel.grid(axis="y", color=_LINE, linewidth=0.7)
        panel.set_axisbelow(True)
    return figure, axes[:count]


def _title(panel: Axes, title: str, unit: str) -> None:
    panel.set_title(title, loc="left", fontsize=12, fontweight="bold", color=_INK)
    panel.set_title(unit, loc="right", fontsize=9, color=_MUTED)


def _legend(figure: Figure, study: StudyReport) -> None:
    from matplotlib.lines import Line2D

    colours = palette(len(study.ordered), "light")
    handles = [
        Line2D([], [], color=c, linewidth=2.5, label=r.label) for c, r in zip(colours, study.ordered, strict=True)
    ]
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=min(6, len(handles)),
        frameon=False,
        labelcolor=_INK,
        fontsize=10,
    )


def _curves(study: StudyReport) -> Figure | None:
    shown = [curve for curve in CURVES if any(len(series(result, curve.metric)[0]) for result in study.ordered)]
    if not shown:
        return None
    figure, panels = _panels(len(shown))
    for panel, curve in zip(panels, shown, strict=True):
        _title(panel, curve.title, curve.unit)
        panel.set_xlabel("PPO step", fontsize=9, color=_MUTED)
        _draw_curve(panel, study, curve)
    _legend(figure, study)
    return figure


def _draw_curve(panel: Axes, study: StudyReport, curve: Curve) -> None:
    for result, colour in zip(study.ordered, palette(len(study.ordered), "light"), strict=True):
        steps, values = series(result, curve.metric)
        panel.plot(steps, values, color=colour, linewidth=0.8, alpha=0.35)
        panel.plot(steps, smooth(values), color=colour, linewidth=3 if result is study.winner else 1.8)
        for verdict, height in onsets(result, curve):
            face = colour if verdict.level == "certain" else "white"
            panel.plot([verdict.onset or 0], [height], marker="X", markersize=10, color=face, markeredgecolor=colour)


def _scores(study: StudyReport) -> Figure | None:
    if not study.benchmarks:
        return None
    figure, panels = _panels(1 + len(study.benchmarks))
    for panel, name in zip(panels, ["overall", *study.benchmarks], strict=True):
        _title(panel, name, "points")
        _draw_scores(panel, study, name)
        if study.ratio_is_swept:
            panel.set_xlabel("alpha, weight of the base model", fontsize=9, color=_MUTED)
            panel.set_xlim(-0.05, 1.05)
            if len(study.results) <= _FEW:
                panel.set_xticks(axis_places(study))
        else:
            panel.tick_params(axis="x", labelrotation=20)
    _legend(figure, study)
    return figure


def _draw_scores(panel: Axes, study: StudyReport, name: str) -> None:
    barred = study.choice.ineligible if study.choice else {}
    colours = palette(len(study.ordered), "light")
    for result, x, colour in zip(study.ordered, axis_places(study), colours, strict=True):
        score = score_of(result, name)
        value, error = (
            (result.report.overall, result.report.overall_stderr)
            if name == "overall"
            else ((score.value, score.stderr) if score else (np.nan, np.nan))
        )
        panel.errorbar(
            [x],
            [value],
            yerr=[np.nan_to_num(error)],
            fmt="o",
            color=colour,
            capsize=3,
            markersize=11 if result is study.winner else 7,
            markerfacecolor="white" if result.number in barred else colour,
            markeredgewidth=2,
        )
