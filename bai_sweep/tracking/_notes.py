"""Descriptions of runs, in the Markdown that MLflow's interface draws at the head of a run's page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import quote

from bai_sweep.records import TrialResult, Verdict

_MOST_ROWS = 10
_MOST_CHARACTERS = 5000  # of a tag, in older servers
_MOST_OF_ONE = 1200  # of a reason or a command
_SCORED = ("benchmark", "points", "items")


def trial_note(result: TrialResult, parent: str | None) -> str:
    """What a person wants to know of a trial: verdict, study, curves, how it was made, each detector, each score.

    Args:
        result: the finished trial; one whose run's id is not known has no picture.
        parent: the id of the study's run, None for a trial on its own.
    """
    seed = "" if "seed" in result.params else f", seed={result.seed}"
    parts = [f"**{result.label}{seed}: {_words(result.diagnosis.summary())}.**"]
    if result.pruned is not None:
        parts.append(f"Ended early: {result.pruned}")
    if parent:
        parts.append(f"[The study and its comparison](#/runs/{parent})")
    parts += [f"Actor: `{result.recipe.formula()}`", _dynamics(result)]
    if result.run_id and result.telemetry:
        parts.append(_picture("Reward, length and KL by PPO step", "curves.png", result.run_id))
    parts.append(_verdicts(result.diagnosis.verdicts))
    rows = _scores(result)
    return _fitting(len(rows), lambda count: [*parts, table(_SCORED, rows[:count]), _cut(count, len(rows), "rows")])


def study_note(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    reason: str,
    command: str,
    own: str,
    figures: Sequence[str],
) -> str:
    """A study's recommendation, its comparison (as many rows as there is room for), its figures and its command."""
    head = f"**{shortened(reason)}**" if reason else ""
    units = "`*` recommended; ± one standard error over items; KL in nats per sequence; length is end / start."
    pictures = [_picture(name, name, own) for name in figures]
    rest = [units, *pictures, f"`{shortened(command)}`" if command else ""]
    where = "trials; `comparison_table.json` has all"
    return _fitting(
        min(len(rows), _MOST_ROWS),
        lambda count: [head, table(columns, rows[:count]), _cut(count, len(rows), where), *rest],
    )


def shortened(text: str) -> str:
    """A text that leaves room for others."""
    return text if len(text) <= _MOST_OF_ONE else text[: _MOST_OF_ONE - 4] + " ..."


def _fitting(most: int, parts: Callable[[int], Sequence[str]]) -> str:
    """The note with as many rows as there is room for."""
    for count in range(most, -1, -1):
        note = "\n\n".join(part for part in parts(count) if part)
        if len(note) <= _MOST_CHARACTERS:
            break
    return note


def _cut(count: int, total: int, what: str) -> str:
    return f"{count} of {total} {what}." if count < total else ""


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; empty without rows."""
    if not rows:
        return ""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _scores(result: TrialResult) -> list[list[str]]:
    report = result.report
    rows = [[s.benchmark, f"{s.value:.1f} ± {s.stderr:.1f}", str(s.n)] for s in report.scores]
    if rows and not report.missing:
        rows.insert(0, ["overall", f"{report.overall:.1f} ± {report.overall_stderr:.1f}", ""])
    missing = [[name, f"not run: {why}", ""] for name, why in report.missing.items()]
    return rows + missing


def _dynamics(result: TrialResult) -> str:
    if not result.telemetry:
        return ""
    found = result.diagnosis
    return (
        f"{len(result.telemetry)} steps of RL: final KL {found.final_kl:.2f} nats a sequence, "
        f"length at the end {found.length_ratio:.2f} times that at the start."
    )


def _verdicts(verdicts: Sequence[Verdict]) -> str:
    rows = [
        [
            _words(v.detector),
            v.level,
            f"{v.severity:.2f}",
            "" if v.onset is None else str(v.onset),
            "" if v.recovery is None else str(v.recovery),
            v.reason,
        ]
        for v in verdicts
    ]
    return table(["detector", "verdict", "severity", "from step", "back at", "why"], rows)


def _picture(title: str, name: str, run_id: str) -> str:
    return f"![{title}](get-artifact?path={quote(name)}&run_uuid={run_id})"


def _words(text: str) -> str:
    return text.replace("_", " ")


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("*", "\\*").split())
