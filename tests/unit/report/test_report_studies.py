"""Studies side by side: what is shared, what differs, and how far apart the best ones are."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from bai_sweep.records import Score, TrialResult, UserError
from bai_sweep.report import Side, StudyReport, best_table, compared, paired, settings_table, write_comparison
from bai_sweep.report._studies_page import comparison_figures
from tests.synthetic import realistic, score, trial
from tests.unit.report.report_helpers import study_of

SETTINGS = {"study": "one", "alpha": "0.5", "rl.kl_coef": "0.02", "evaluation.seed": "0", "tracking.uri": "here"}


def named(study: StudyReport, name: str, **settings: str) -> Side:
    return Side(replace(study, name=name), {**SETTINGS, "study": name, **settings})


def three(skill: float, first: int = 0) -> tuple[TrialResult, ...]:
    return tuple(realistic(first + k, a, skill=skill) for k, a in enumerate((0.1, 0.5, 0.9)))


@pytest.fixture
def sides() -> list[Side]:
    one, two = study_of(three(0.7), winner=1), study_of(three(0.5, 5), winner=6)
    return [named(one, "one"), named(two, "two", **{"rl.kl_coef": "0.05", "tracking.uri": "there"})]


def test_the_best_of_each_and_the_settings_that_differ(sides: list[Side]) -> None:
    comparison = compared(sides)
    rows = best_table(comparison).rows
    assert [row[:3] for row in rows] == [("one", "alpha=0.5", "1"), ("two", "alpha=0.5", "1")]
    assert best_table(comparison, benchmarks=False).columns == (
        "study", "best", "seeds", "overall", "KL", "length", "training",
    )  # fmt: skip
    assert settings_table(comparison).rows == (("rl.kl_coef", "0.02", "0.05"),)


def test_a_swept_key_shows_its_values(sides: list[Side]) -> None:
    fewer = replace(sides[1].study, results=sides[1].study.results[:2])
    rows = {row[0]: row[1:] for row in settings_table(compared([sides[0], replace(sides[1], study=fewer)])).rows}
    assert rows["alpha"] == ("swept: 0.1, 0.5, 0.9", "swept: 0.1, 0.5")


def test_paired_differences_are_over_the_same_items() -> None:
    """Against the plain paired difference of NumPy's."""
    first, second = (0.0, 100.0, 100.0, 0.0) * 10, (0.0, 0.0, 100.0, 100.0) * 5 + (0.0,) * 20
    sides = [
        named(study_of([trial(0, {"alpha": 0.1}, scores=[score("only", items)])], winner=0), name)
        for name, items in (("one", first), ("two", second))
    ]
    (entry,) = paired(compared(sides))
    gaps = np.subtract(first, second)
    assert entry.difference is not None
    assert entry.difference.value == pytest.approx(gaps.mean())
    assert entry.difference.standard_error == pytest.approx(gaps.std(ddof=1) / np.sqrt(len(gaps)))
    assert entry.difference.low < gaps.mean() < entry.difference.high
    assert np.isnan(entry.seeds)


def test_seeds_are_averaged_item_by_item_and_their_noise_is_told() -> None:
    first, again, second = (0.0, 100.0) * 20, (100.0, 100.0) * 20, (0.0, 50.0) * 20
    repeats = [
        replace(trial(k, {"alpha": 0.1, "seed": k}, scores=[score("only", items)]), seed=k)
        for k, items in enumerate((first, again))
    ]
    others = [replace(trial(k, {"alpha": 0.1, "seed": k}, scores=[score("only", second)]), seed=k) for k in range(2)]
    (entry,) = paired(compared([named(study_of(repeats), "one"), named(study_of(others), "two")]))
    assert entry.difference is not None
    assert entry.difference.value == pytest.approx(np.subtract(np.mean([first, again], axis=0), second).mean())
    assert entry.seeds == pytest.approx(np.sqrt(np.var([50.0, 100.0], ddof=1) / 2))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"items": ()}, "items are not stored"),
        ({"clusters": tuple("ab" * 20)}, "the items are not the same"),
        ({"n": 39, "items": (0.0,) * 39}, "the items are not the same"),
    ],
)
def test_other_items_are_not_paired(change: dict[str, object], why: str) -> None:
    whole = score("only", (0.0, 100.0) * 20)
    scores: tuple[Score, Score] = (whole, replace(whole, **change))  # type: ignore[arg-type]
    sides = [named(study_of([trial(0, {"alpha": 0.1}, scores=[s])], winner=0), n) for s, n in zip(scores, "ab")]  # noqa: B905
    (entry,) = paired(compared(sides))
    assert (entry.difference, entry.why) == (None, why)


def test_another_subset_is_other_items(sides: list[Side]) -> None:
    cheap = replace(sides[1], settings={**sides[1].settings, "evaluation.subset": "50"})
    assert {entry.why for entry in paired(compared([sides[0], cheap]))} == {"the items are not the same"}


def test_what_is_not_shared_is_said(sides: list[Side], tmp_path: Path) -> None:
    def without(result: TrialResult) -> TrialResult:
        kept = tuple(s for s in result.report.scores if s.benchmark != "arena")
        return replace(result, report=replace(result.report, scores=kept))

    fewer = replace(sides[1].study, results=tuple(map(without, sides[1].study.results)))
    comparison = compared([sides[0], replace(sides[1], study=fewer)])
    assert comparison.shared == ("knowledge", "arithmetic")
    assert comparison.absent == {"arena": ("two",)}
    first = sides[0].study.results[1].report.scores
    mean = (first[0].value + first[1].value) / 2
    assert best_table(comparison).rows[0][3].startswith(f"{mean:.1f} ± ")
    assert best_table(comparison).columns[3] == "mean of shared"
    page = write_comparison(comparison, paired(comparison), tmp_path).read_text(encoding="utf-8")
    assert "arena is not compared: two has no score of it." in page


def test_nothing_shared_or_nothing_finished_is_refused(sides: list[Side]) -> None:
    other = study_of([trial(0, {"alpha": 0.1}, scores=[score("else", [0.0, 100.0])])], winner=0)
    with pytest.raises(UserError, match=r"these have none \(one: arena, arithmetic, knowledge; x: else\)"):
        compared([sides[0], named(other, "x")])
    with pytest.raises(UserError, match="study x has no finished trial"):
        compared([sides[0], named(study_of([]), "x")])
    with pytest.raises(UserError, match="two studies at least; got 1"):
        compared(sides[:1])


def test_the_page_has_a_line_for_each_study(sides: list[Side], tmp_path: Path) -> None:
    comparison = compared(sides)
    scores, curves = comparison_figures(comparison)
    assert [panel.title for panel in scores.panels] == ["overall", "knowledge", "arithmetic", "arena"]
    lines = [trace for trace in scores.panels[0].traces if trace.kind == "line"]
    assert [line.x for line in lines] == [(0.1, 0.5, 0.9)] * 2
    assert lines[0].dash != lines[1].dash
    ring = next(trace for trace in scores.panels[0].traces if trace.symbol == "ring")
    assert ring.x == (0.5,)
    assert [trace.name for trace in curves.panels[0].traces] == ["one: alpha=0.5", "two: alpha=0.5"]
    path = write_comparison(comparison, paired(comparison), tmp_path / "out")
    text = path.read_text(encoding="utf-8")
    drawn = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])  # type: ignore[index]
    assert len(drawn["plots"]) == 4 + 3
    assert text.count('<img class="paper"') == 2
    assert not [found for found in Loaded.of(text) if not found.startswith("data:")]
    linked = re.findall(r"\]\((.*?)\)", (tmp_path / "out" / "report.md").read_text())
    assert linked == ["figures/score_vs_alpha.png", "figures/curves.png"]
    assert all((tmp_path / "out" / link).is_file() for link in linked)


class Loaded(HTMLParser):
    """Whatever a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    @classmethod
    def of(cls, text: str) -> list[str]:
        parser = cls()
        parser.feed(text)
        return parser.found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        loads = ("src", "srcset", "data") if tag != "link" else ("href",)
        self.found += [str(value) for name, value in attrs if name in loads]
