"""Every figure of a study, in the order of the page, and the look-up of its colours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from bai_sweep.report._cost import cost_figure
from bai_sweep.report._merges import geometry_figure
from bai_sweep.report._palette import FEW, Theme, hues, palette
from bai_sweep.report._points import dash_of, name_of
from bai_sweep.report._scores import score_figure
from bai_sweep.report._spec import Figure
from bai_sweep.report._study import Point, StudyReport
from bai_sweep.report._tradeoff import tradeoff_figure
from bai_sweep.report._training import dynamics_figure, training_figure, trajectory_figure

NAMED = 24
"""Points up to which a legend names each; the colours of more are a scale."""
_MAKERS = {
    "score_vs_alpha": score_figure,
    "score_vs_stability": tradeoff_figure,
    "curves": training_figure,
    "dynamics": dynamics_figure,
    "kl_vs_reward": trajectory_figure,
    "merge_geometry": geometry_figure,
    "cost": cost_figure,
}


@dataclass(frozen=True)
class Entry:
    """A line of the legend: what has this colour and stroke."""

    label: str
    slot: int
    dash: tuple[int, ...]


@dataclass(frozen=True)
class Legend:
    """How figures are coloured.

    Args:
        slots: colours of the points, in both themes.
        entries: what each colour is; empty: too many to be named, and `ends` says what the scale goes from and to.
        ends: names of the scale's two ends.
    """

    slots: Mapping[Theme, list[str]]
    entries: tuple[Entry, ...]
    ends: tuple[str, str] = ("", "")

    def colour(self, name: str, theme: Theme, inks: Mapping[str, str]) -> str:
        """The colour of a trace as #rrggbb."""
        kind, _, which = name.partition(":")
        if kind == "var":
            return inks[which]
        return self.slots[theme][int(which)] if kind == "slot" else hues(theme)[int(which) % len(hues(theme))]


def gallery(study: StudyReport, only: tuple[str, ...] = ()) -> tuple[Figure, ...]:
    """The figures that the study has something for; of `only` those keys, if any are given."""
    makers = [make for key, make in _MAKERS.items() if not only or key in only]
    return tuple(figure for make in makers if (figure := make(study)) is not None)


def legend(study: StudyReport) -> Legend:
    """The colours of a study's points: hues of few, of many a scale over the ratio or over their order."""
    shown = study.points
    return legend_of(
        [Entry(name_of(study, point), point.slot, dash_of(point, len(shown))) for point in shown],
        _scale(study, shown),
        _ends(study, shown),
    )


def legend_of(entries: list[Entry], scale: list[float] | None = None, ends: tuple[str, str] = ("", "")) -> Legend:
    """A legend with a colour for each entry."""
    themes: tuple[Theme, Theme] = ("light", "dark")
    slots = {theme: palette(len(entries), theme, scale or ()) for theme in themes}
    return Legend(slots, tuple(entries) if len(entries) <= NAMED else (), ends)


def _scale(study: StudyReport, shown: tuple[Point, ...]) -> list[float] | None:
    alphas = [point.alpha for point in shown]
    if not study.ratio_is_swept or len(shown) <= FEW or not all(map(math.isfinite, alphas)):
        return None
    return [(alpha - min(alphas)) / (max(alphas) - min(alphas)) for alpha in alphas]


def _ends(study: StudyReport, shown: tuple[Point, ...]) -> tuple[str, str]:
    if not shown:
        return "", ""
    if study.ratio_is_swept:
        return f"alpha {shown[0].alpha:.3g}", f"{shown[-1].alpha:.3g}"
    return f"trial {shown[0].first.number}", f"{shown[-1].first.number}"
