"""What manifest and card say of a promoted model's origin."""

from __future__ import annotations

import math
import uuid
from typing import Any

from bai_sweep.promotion._rescoring import Rescoring
from bai_sweep.promotion._subject import Subject
from bai_sweep.records import Score, TrialResult

PROMOTION = "promotion"
"""The manifest's key."""


def rows_of(subject: Subject, again: Rescoring) -> dict[str, Any]:
    """For the manifest; `id` is the folder's own, by which its version is known."""
    result, choice = subject.result, subject.study.choice
    report = result.report if result else None
    return {
        "id": uuid.uuid4().hex,
        "study": subject.study.name,
        "study_command": subject.study.command,
        "trial": subject.number,
        "run_id": result.run_id if result else None,
        "params": dict(result.params) if result else {},
        "seed": result.seed if result else None,
        "standing": subject.standing.says,
        "fault": subject.standing.fault,
        "forced": subject.forced,
        "choice": choice.reason if choice else None,
        "best_probability": choice.best_probability.get(subject.number) if choice else None,
        "training": subject.setup.training,
        "verdict": verdict_of(result),
        "overall": report.overall if report else None,
        "overall_stderr": report.overall_stderr if report else None,
        "scores": [_score_row(score) for score in report.scores] if report else [],
        "missing": dict(report.missing) if report else {},
        "inputs": {model: dict(files) for model, files in subject.recipe.inputs.items()},
        "scores_command": again.command,
        "scores_command_doubt": again.doubt or None,
    }


def verdict_of(result: TrialResult | None) -> str:
    """`stable`, or the faults with their levels."""
    if result is None:
        return "not known: the trial has no result"
    return f"ended early, {result.pruned}" if result.pruned else result.diagnosis.summary()


def _score_row(score: Score) -> dict[str, Any]:
    return {name: getattr(score, name) for name in ("benchmark", "value", "stderr", "n", "metric")}


def card_of(subject: Subject, again: Rescoring) -> str:
    """Sections for the model card, Markdown."""
    return "\n".join(part for part in (_origin(subject), _scores(subject), _again(subject, again)) if part)


def _origin(subject: Subject) -> str:
    study, choice = subject.study, subject.study.choice
    lines = [
        f"- study `{study.name}`, trial {subject.number} ({subject.label}): {subject.standing.says}",
        f"- verdict on its training ({subject.setup.training}): {verdict_of(subject.result)}",
    ]
    if subject.forced is not None:
        lines.append(f"- **promoted although it is not eligible**: {subject.standing.fault}. Reason: {subject.forced}")
    if choice is not None:
        lines.append(f"- the study's choice: {choice.reason}")
    lines.append(
        "- `merge.json` (`promotion`, `actor`, `inputs`) has the digests by which it is known to be the trial's"
    )
    if study.command:
        lines.append(f"- the study: `{study.command}`")
    return "## Where it comes from\n\n" + "\n".join(lines) + "\n"


def _scores(subject: Subject) -> str:
    if subject.result is None or not subject.result.report.scores:
        return ""
    report = subject.result.report
    rows = [f"| {s.benchmark} | {_figure(s.value, s.stderr)} | {s.n} | {s.metric} |\n" for s in report.scores]
    if math.isfinite(report.overall):
        rows.append(f"| **overall** | {_figure(report.overall, report.overall_stderr)} | | mean |\n")
    rows += [f"| {name} | missing: {why} | | |\n" for name, why in report.missing.items()]
    of = (
        "of this model"
        if subject.setup.training == "none"
        else f"after PPO from this model ({subject.setup.training}); the weights here are those before it"
    )
    table = "| benchmark | points (± standard error) | items | metric |\n|---|---|---|---|\n" + "".join(rows)
    return f"## Scores of the trial\n\nScores {of}.\n\n{table}"


def _figure(value: float, error: float) -> str:
    return f"{value:.1f} ± {error:.1f}" if math.isfinite(error) else f"{value:.1f}"


def _again(subject: Subject, again: Rescoring) -> str:
    title, how = "To score it again", "As the trial was scored, and the same weights: the figures are the same."
    if subject.setup.training != "none":
        title = "To score the merge itself"
        how = "With the benchmarks and settings of the trial, before any PPO: figures of its own, which no trial has."
    doubt = f"\nNot quite as the trial: {again.doubt}.\n" if again.doubt else ""
    return f"## {title}\n\n{how}\n\n    {again.command}\n{doubt}"
