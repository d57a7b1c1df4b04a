"""The study's main table: a row per finished trial."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path

from bai_sweep.records import Diagnosis, Score, TrialResult, Verdict
from bai_sweep.report._study import StudyReport
from bai_sweep.report._table import ABSENT, Table, number, plain, with_error
from bai_sweep.report._write import write_text

Value = str | float | int | bool | None


def swept(study: StudyReport) -> dict[str, str]:
    """The swept parameters and their shown names: the last part of the key where that is unambiguous."""
    keys = list(dict.fromkeys(key for result in study.ordered for key in result.params))
    last = [key.rsplit(".", 1)[-1] for key in keys]
    return {key: short if last.count(short) == 1 else key for key, short in zip(keys, last, strict=True)}


def comparison(study: StudyReport, *, errors: bool = True) -> Table:
    """Trial, swept parameters, overall, each benchmark, final KL, length ratio, verdict; the winner's number has a *.

    Args:
        study: the study.
        errors: whether each benchmark shows its standard error (`overall` always does).
    """
    params = swept(study)
    header = ("trial", *params.values(), "overall", *study.benchmarks, "KL", "length", "verdict")
    rows = tuple(_row(study, result, list(params), errors) for result in study.ordered)
    best = frozenset((k, 0) for k, result in enumerate(study.ordered) if result is study.winner)
    return Table(header, rows, best)


def _row(study: StudyReport, result: TrialResult, params: Sequence[str], errors: bool) -> tuple[str, ...]:
    scores = [score_of(result, name) for name in study.benchmarks]
    ratio = result.diagnosis.length_ratio
    return (
        f"{result.number}{'*' if result is study.winner else ''}",
        *(plain(result.params[key]) if key in result.params else ABSENT for key in params),
        with_error(result.report.overall, result.report.overall_stderr),
        *(ABSENT if s is None else with_error(s.value, s.stderr if errors else math.nan) for s in scores),
        number(result.diagnosis.final_kl, 2),
        ABSENT if math.isnan(ratio) else f"{ratio:.2f}x",
        verdict(result.diagnosis),
    )


def verdict(diagnosis: Diagnosis) -> str:
    """`stable`, or the faults in words."""
    return diagnosis.summary().replace("_", " ")


def faults(diagnosis: Diagnosis) -> str:
    """Each fault with its steps: `length collapse (certain) from step 4, back at 20`; empty if there is none."""
    return "; ".join(fault(verdict) for verdict in diagnosis.verdicts if verdict.level != "none")


def fault(verdict: Verdict) -> str:
    """One fault in words."""
    begun = f" from step {verdict.onset}" if verdict.onset else ""
    back = f", back at {verdict.recovery}" if verdict.recovery else ""
    return f"{verdict.detector.replace('_', ' ')} ({verdict.level}){begun}{back}"


def score_of(result: TrialResult, benchmark: str) -> Score | None:
    """A trial's score on one benchmark, if it has one."""
    return next((score for score in result.report.scores if score.benchmark == benchmark), None)


def records(study: StudyReport) -> tuple[dict[str, Value], ...]:
    """The comparison for programs: one flat record per finished trial, figures unrounded, absent ones None."""
    names = list(dict.fromkeys(name for result in study.ordered for name in result.metrics()))
    return tuple(_record(study, result, names) for result in study.ordered)


def _record(study: StudyReport, result: TrialResult, names: Sequence[str]) -> dict[str, Value]:
    metrics = result.metrics()
    choice = study.choice
    return {
        "trial": result.number,
        "actor": study.actor(result),
        **{key: _scalar(result.params.get(key)) for key in swept(study)},
        "seed": result.seed,
        **{name: metrics.get(name) for name in names},
        "verdict": result.diagnosis.summary(),
        "best_probability": choice.best_probability.get(result.number) if choice else None,
        "ineligible": choice.ineligible.get(result.number) if choice else None,
        "recommended": result is study.winner,
        "run_id": result.run_id,
    }


def _scalar(value: object) -> Value:
    return value if value is None or isinstance(value, str | float | int | bool) else plain(value)


def write_tables(study: StudyReport, folder: Path) -> list[Path]:
    """Writes comparison.csv and comparison.json (a list of records); returns their paths."""
    rows = records(study)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["trial"])
    writer.writeheader()
    writer.writerows(rows)
    return [
        write_text(folder / "comparison.csv", text.getvalue()),
        write_text(folder / "comparison.json", json.dumps(rows, indent=1) + "\n"),
    ]
