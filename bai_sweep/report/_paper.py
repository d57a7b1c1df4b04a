"""The paper's tables 1 and 2 (arXiv 2509.00309) in form, with this study's numbers alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bai_sweep.report._points import is_winner, score
from bai_sweep.report._study import OVERALL, Point, StudyReport
from bai_sweep.report._table import Table, best_cells, number

METHODS = {"paradigm1": "Paradigm 1", "paradigm2": "Paradigm 2", "paradigm3": "Paradigm 3", "bai": "BAI"}
PAPER_BENCHMARKS = (
    "MMLU Pro", "MMLU", "SuperGPQA", "LiveBench", "MixEval-Hard", "ArenaHard", "AIME 2024", "MATH", "MBPP+",
)  # fmt: skip
PAPER_ALPHAS = (0.1, 0.2, 0.5, 0.7, 0.9)


def paradigms_table(study: StudyReport) -> Table | None:
    """Table 1: a row per method, a column per benchmark; None unless a trial is one of the paradigms.

    BAI's row is the recommended ratio, or else the best one; the other ratios are in table 2. A point that was run
    with several seeds has their mean.
    """
    shown = [point for name in METHODS for point in _of_method(study, name)]
    if all(study.actor(point.first) == "bai" for point in shown):
        return None
    names = _benchmarks(study)
    values = [_scores(study, point, [*names, OVERALL]) for point in shown]
    rows = tuple((_method(study, p), *map(number, line)) for p, line in zip(shown, values, strict=True))
    absent = [title for name, title in METHODS.items() if not _of_method(study, name)]
    note = " ".join([*_absent("methods", absent), *_absent_benchmarks(names), *_means(study)])
    return Table(("method", *names, OVERALL), rows, best_cells(values, "column"), note)


def ratio_table(study: StudyReport) -> Table | None:
    """Table 2: a row per benchmark, a column per merging ratio, means over seeds; None unless ratios differ."""
    shown = sorted((p for p in study.finished if _is_merge(study, p)), key=lambda p: (p.alpha, p.first.number))
    alphas = [point.alpha for point in shown]
    if len(set(alphas)) < 2:
        return None
    names = [*_benchmarks(study), OVERALL]
    lines = [list(line) for line in zip(*(_scores(study, point, names) for point in shown), strict=True)]
    rows = tuple((name, *map(number, line)) for name, line in zip(names, lines, strict=True))
    header = tuple(_ratio(point, alphas) for point in shown)
    absent = [f"{alpha:g}" for alpha in PAPER_ALPHAS if not any(math.isclose(alpha, a) for a in alphas)]
    note = " ".join([*_absent("ratios", absent), *_absent_benchmarks(names[:-1]), *_means(study)])
    return Table(("", *header), rows, best_cells(lines, "row"), note)


def _is_merge(study: StudyReport, point: Point) -> bool:
    return study.actor(point.first) == "bai" and math.isfinite(point.alpha)


def _of_method(study: StudyReport, name: str) -> list[Point]:
    shown = [point for point in study.finished if study.actor(point.first) == name]
    if name != "bai" or len(shown) < 2:
        return shown
    if winners := [point for point in shown if is_winner(study, point)]:
        return winners
    scored = [point for point in shown if math.isfinite(score(study, point, OVERALL).value)]
    return [max(scored, key=lambda point: score(study, point, OVERALL).value)] if scored else shown[:1]


def _method(study: StudyReport, point: Point) -> str:
    title = METHODS[study.actor(point.first)]
    detail = ", ".join(part for part in point.label.split(", ") if not part.startswith("actor="))
    alone = sum(study.actor(other.first) == study.actor(point.first) for other in study.finished) == 1
    named = detail and detail != f"trial {point.first.number}" and (title == "BAI" or not alone)
    return f"{title} ({detail})" if named else title


def _ratio(point: Point, alphas: Sequence[float]) -> str:
    several = alphas.count(point.alpha) > 1
    return f"alpha {point.alpha:.3g}" + (f" (trial {point.first.number})" if several else "")


def _scores(study: StudyReport, point: Point, names: Sequence[str]) -> list[float]:
    return [score(study, point, name).value for name in names]


def _means(study: StudyReport) -> list[str]:
    counts = sorted({len(point.trials) for point in study.finished})
    seeds = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
    return [f"Means over {seeds} seeds."] if counts[-1] > 1 else []


def _benchmarks(study: StudyReport) -> list[str]:
    """The study's benchmarks, those of the paper first and in its order."""
    place = {_key(name): k for k, name in enumerate(PAPER_BENCHMARKS)}
    return sorted(study.benchmarks, key=lambda name: place.get(_key(name), len(place)))


def _absent_benchmarks(names: Sequence[str]) -> list[str]:
    have = {_key(name) for name in names}
    absent = [name for name in PAPER_BENCHMARKS if _key(name) not in have]
    if len(absent) == len(PAPER_BENCHMARKS):
        return ["None of the paper's nine benchmarks was run; evaluation=lm_eval runs three of them."]
    return _absent("benchmarks", absent)


def _absent(what: str, names: Sequence[str]) -> list[str]:
    return [f"Of the paper's {what} this study has no {', '.join(names)}."] if names else []


def _key(name: str) -> str:
    """`mmlu_pro`, `MMLU Pro` and `MMLU-Pro` are one benchmark, and so are `aime24` and `AIME 2024`."""
    plain = "".join(c for c in name.lower().replace("+", "plus") if c.isalnum())
    return {"aime24": "aime2024", "math500": "math"}.get(plain, plain)
