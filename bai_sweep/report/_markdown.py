"""The comparison as Markdown, for a pull request or an issue."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bai_sweep.report._comparison import comparison
from bai_sweep.report._cost import cost_table
from bai_sweep.report._gallery import gallery
from bai_sweep.report._paper import paradigms_table, ratio_table
from bai_sweep.report._study import StudyReport
from bai_sweep.report._table import Table


def markdown(study: StudyReport, images: Sequence[Path] = ()) -> str:
    """The recommendation, the comparison, figures, the paper's tables in form, the cost, and what did not finish.

    Args:
        study: what it shows.
        images: the figures' files below the study's folder, which are linked from there; of each the PNG.
    """
    parts = [f"### {study.name}"]
    if study.choice:
        parts.append(_escape(study.choice.reason))
    if study.results:
        parts.append(table_markdown(comparison(study)))
        parts.append(
            "`*` recommended; ± is one standard error over items; KL in nats per sequence; length is end / start."
        )
    parts += _losers_and_next(study)
    titles_of = {figure.key: figure.title for figure in gallery(study)}
    for path in images:
        if path.suffix == ".png" and path.stem in titles_of:
            title, place = titles_of[path.stem], path.relative_to(study.folder).as_posix()
            parts.append(f"#### {title}\n\n![{title}]({place})")
    titles = {"Paradigms (table 1)": paradigms_table(study), "Merging ratio (table 2)": ratio_table(study)}
    for title, table in titles.items():
        if table:
            parts.append(f"#### {title}\n\n{table_markdown(table)}\n\n{_escape(table.note)}".rstrip())
    if (cost := cost_table(study)) is not None:
        parts.append(f"#### Cost\n\n{table_markdown(cost)}")
    unfinished = [f"- trial {number} failed: {_escape(why)}" for number, why in study.failure_reasons.items()]
    unfinished += [f"- trial {number} has not ended" for number in study.pending]
    if unfinished:
        parts.append("\n".join(unfinished))
    if study.command:
        parts.append(f"```\n{study.command}\n```")
    return "\n\n".join(parts) + "\n"


def _losers_and_next(study: StudyReport) -> list[str]:
    choice = study.choice
    if choice is None:
        return []
    lines = [f"- {_escape(s.label)}: {_escape(s.reason)}" for s in choice.standings if s.reason]
    asked = [*choice.next_trials, *([choice.proposal.confirm] if choice.proposal else [])]
    guess = [_escape(choice.proposal.reason)] if choice.proposal else []
    commands = [f"Run next, {_escape(t.purpose)}:\n\n```\n{t.command}\n```" for t in asked]
    return [*(["\n".join(lines)] if lines else []), *guess, *commands]


def table_markdown(table: Table) -> str:
    """A table that a forge renders; its note is left to the caller."""
    lines = ["| " + " | ".join(map(_escape, table.columns)) + " |", "|" + " --- |" * len(table.columns)]
    for i, row in enumerate(table.rows):
        cells = [f"**{_escape(cell)}**" if (i, j) in table.best else _escape(cell) for j, cell in enumerate(row)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _escape(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;").split())
