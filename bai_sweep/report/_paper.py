"""The paper's tables 1 and 2 (arXiv 2509.00309) in form, with this study's numbers alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bai_sweep.records import TrialResult
from bai_sweep.report._comparison import score_of
from bai_sweep.report._study import StudyReport, alpha_of
from bai_sweep.report._table import Table, best_cells, number

METHODS = {"paradigm1": "Paradigm 1", "paradigm2": "Paradigm 2", "paradigm3": "Paradigm 3", "bai": "BAI"}
PAPER_BENCHMARKS = (
    "MMLU Pro", "MMLU", "SuperGPQA", "LiveBench", "MixEval-Hard", "ArenaHard", "AIME 2024", "MATH", "MBPP+",
)  # fmt: skip
PAPER_ALPHAS = (0.1, 0.2, 0.5, 0.7, 0.9)


def paradigms_table(study: StudyReport) -> Table | None:
    """Table 1: a row per method, a column per benchmark; None unless a trial is one of the paradigms.

    BAI's row is the recommended ratio, or else the best one; the other ratios are in table 2.
    """
    trials = [result for name in METHODS for result in _of_method(study, name)]
    if all(study.actor(result) == "bai" for result in trials):
        return None
    names = _benchmarks(study)
    values = [[*_scores(result, names), result.report.overall] for result in trials]
    rows = tuple((_method(study, r), *map(number, line)) for r, line in zip(trials, values, strict=True))
    absent = [title for name, title in METHODS.items() if not _of_method(study, name)]
    note = " ".join([*_absent("methods", absent), *_absent_benchmarks(names)])
    return Table(("method", *names, "overall"), rows, best_cells(values, "column"), note)


def ratio_table(study: StudyReport) -> Table | None:
    """Table 2: a row per benchmark, a column per merging ratio; None unless ratios differ."""
    trials = sorted((r for r in study.results if _is_merge(study, r)), key=lambda r: (alpha_of(r), r.number))
    alphas = [alpha_of(result) for result in trials]
    if len(set(alphas)) < 2:
        return None
    names = _benchmarks(study)
    values = [_scores(result, names) for result in trials]
    lines = [*map(list, zip(*values, strict=True)), [result.report.overall for result in trials]]
    rows = tuple((name, *map(number, line)) for name, line in zip((*names, "overall"), lines, strict=True))
    header = tuple(_ratio(result, alphas) for result in trials)
    absent = [f"{alpha:g}" for alpha in PAPER_ALPHAS if not any(math.isclose(alpha, a) for a in alphas)]
    note = " ".join([*_absent("ratios", absent), *_absent_benchmarks(names)])
    return Table(("", *header), rows, best_cells(lines, "row"), note)


def _is_merge(study: StudyReport, result: TrialResult) -> bool:
    return study.actor(result) == "bai" and math.isfinite(alpha_of(result))


def _of_method(study: StudyReport, name: str) -> list[TrialResult]:
    trials = [result for result in study.ordered if study.actor(result) == name]
    if name != "bai" or len(trials) < 2:
        return trials
    if study.winner in trials:
        return [study.winner]
    scored = [result for result in trials if math.isfinite(result.report.overall)]
    return [max(scored, key=lambda result: result.report.overall)] if scored else trials[:1]


def _method(study: StudyReport, result: TrialResult) -> str:
    title = METHODS[study.actor(result)]
    detail = ", ".join(part for part in result.label.split(", ") if not part.startswith("actor="))
    alone = sum(study.actor(other) == study.actor(result) for other in study.results) == 1
    named = detail and detail != f"trial {result.number}" and (title == "BAI" or not alone)
    return f"{title} ({detail})" if named else title


def _ratio(result: TrialResult, alphas: Sequence[float]) -> str:
    alpha = alpha_of(result)
    repeated = alphas.count(alpha) > 1
    return f"alpha {alpha:.3g}" + (f" (trial {result.number})" if repeated else "")


def _scores(result: TrialResult, names: Sequence[str]) -> list[float]:
    found = [score_of(result, name) for name in names]
    return [math.nan if score is None else score.value for score in found]


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
