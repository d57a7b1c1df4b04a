"""The parts of the page, each a function from the study to HTML."""

from __future__ import annotations

import html
import math
import re
import shlex
from collections.abc import Sequence

from bai_sweep.records import TrialResult
from bai_sweep.report._comparison import fault, score_of, swept, verdict
from bai_sweep.report._paper import paradigms_table, ratio_table
from bai_sweep.report._plots import Plot
from bai_sweep.report._study import StudyReport
from bai_sweep.report._table import ABSENT, Table, number, plain, probability, with_error

_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+(?=@)")


def text(value: object) -> str:
    """Anything as HTML text."""
    return html.escape(str(value))


def decision(study: StudyReport) -> str:
    """What to take and why: all that a reader in a hurry reads."""
    choice, winner = study.choice, study.winner
    alone = _alone(study)
    made = f"{alone.recipe.formula()}. " if alone else ""
    reason = choice.reason if choice else f"{made}Nothing was compared yet, so nothing is recommended."
    badge = ""
    if winner and choice:
        badge = '<span class="badge sure">clear</span>' if choice.clear else '<span class="badge">not clear</span>'
    return f"""<header class="decision">
<p class="kicker">{text(study.name)} &middot; {_progress(study)}</p>
<h1>{_headline(study)} {badge}</h1>
<p class="reason">{text(reason)}</p>
{_figures_of(study, shown) if (shown := winner or alone) else ""}
{_link(study)}
</header>
"""


def _headline(study: StudyReport) -> str:
    if study.winner is None:
        return "A single trial" if _alone(study) else "No ratio to recommend"
    verb = "So far, take" if study.pending else "Take"
    return f'{verb} <span class="pick">{text(study.recommended.replace("=", " = "))}</span>'


def _alone(study: StudyReport) -> TrialResult | None:
    """The trial of a run that compares nothing."""
    return study.results[0] if study.choice is None and len(study.results) == 1 else None


def _progress(study: StudyReport) -> str:
    parts = [f"{len(study.results)} finished"]
    parts += [f"{len(study.failures)} failed"] if study.failures else []
    parts += [f"{len(study.pending)} not ended"] if study.pending else []
    return "trials: " + ", ".join(parts)


def _figures_of(study: StudyReport, winner: TrialResult) -> str:
    sure = study.choice.best_probability.get(winner.number, math.nan) if study.choice else math.nan
    figures = {
        "overall score": with_error(winner.report.overall, winner.report.overall_stderr),
        "probability of being best": probability(sure),
        "training": verdict(winner.diagnosis),
        "response length, end / start": _times(winner.diagnosis.length_ratio),
        "final KL, nats": number(winner.diagnosis.final_kl, 2),
    }
    cells = "".join(f"<div><dt>{name}</dt><dd>{text(value)}</dd></div>" for name, value in figures.items())
    return f'<dl class="figures">{cells}</dl>'


def _times(ratio: float) -> str:
    return ABSENT if math.isnan(ratio) else f"{ratio:.2f}x"


def _link(study: StudyReport) -> str:
    if not study.link:
        return ""
    web = study.link.startswith(("http://", "https://"))
    if not web:
        return f'<p class="small">Compare in MLflow: <code>{text(study.link)}</code></p>'
    shown = f'<a href="{text(study.link)}">Compare the runs in MLflow</a>'
    return f'<p class="small">{shown} (<code>python -m bai_sweep.tracking ui</code> serves it here)</p>'


def comparison_section(study: StudyReport) -> str:
    """Every finished trial in a row."""
    if not study.results:
        return ""
    params = swept(study)
    names = [*(params.values() or ["trial"]), "overall", *study.benchmarks, "P(best)", "KL", "length", "training"]
    head = "".join(f"<th>{text(name)}</th>" for name in names)
    rows = "".join(_comparison_row(study, slot, result, list(params)) for slot, result in enumerate(study.ordered))
    return f"""<section><h2>The trials</h2>
<div class="scroll"><table class="trials"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>
<p class="small">Scores in points, ± one standard error over items. P(best) is the probability that a trial's overall
score is the best of the eligible ones, by a paired bootstrap over items: it knows the noise of the evaluation, not
that of the training seed. KL is nats per sequence at the end; length is the mean response length at the end over
that at the start.</p></section>
"""


def _comparison_row(study: StudyReport, slot: int, result: TrialResult, params: Sequence[str]) -> str:
    choice = study.choice
    swatch = f'<i class="swatch" style="background:var(--slot-{slot})"></i>'
    first, *others = [plain(result.params.get(key, ABSENT)) for key in params] or [result.label]
    scores = [score_of(result, name) for name in study.benchmarks]
    sure = choice.best_probability.get(result.number, math.nan) if choice else math.nan
    barred = choice.ineligible.get(result.number) if choice else None
    cells = [
        f"<th>{swatch}{text(first)}</th>",
        *(f"<td>{text(value)}</td>" for value in others),
        f"<td><b>{_scored(result.report.overall, result.report.overall_stderr)}</b></td>",
        *(f"<td>{ABSENT if score is None else _scored(score.value, score.stderr)}</td>" for score in scores),
        f"<td>{_bar(sure, slot) if barred is None else '<span class=barred>ruled out</span>'}</td>",
        f"<td>{number(result.diagnosis.final_kl, 2)}</td>",
        f"<td>{_times(result.diagnosis.length_ratio)}</td>",
        f'<td class="words">{_training(result, barred)}</td>',
    ]
    return f"<tr{' class=winner' if result is study.winner else ''}>{''.join(cells)}</tr>"


def _scored(value: float, error: float) -> str:
    if math.isnan(value) or math.isnan(error):
        return number(value)
    return f'{value:.1f} <span class="error">± {error:.1f}</span>'


def _bar(share: float, slot: int) -> str:
    if math.isnan(share):
        return ABSENT
    width = f"width:{100 * share:.0f}%;background:var(--slot-{slot})"
    return f'<span class="bar"><i style="{width}"></i></span> {text(probability(share))}'


def _training(result: TrialResult, barred: str | None) -> str:
    shown = [item for item in result.diagnosis.verdicts if item.level != "none"]
    told = [f'<span class="fault" title="{text(item.reason)}">{text(fault(item))}</span>' for item in shown]
    # A budget or a missing score stands nowhere else in the row; a verdict does.
    known = tuple(item.detector.replace("_", " ") for item in shown)
    reasons = [part for part in (barred or "").split("; ") if not part.startswith(known)]
    told += [f'<span class="fault">{text(part)}</span>' for part in reasons if part]
    return "<br>".join(told if shown else ["stable", *told])


def standings_section(study: StudyReport) -> str:
    """Every point's objective, why it is not the one, and what to run next."""
    choice = study.choice
    if choice is None or not choice.standings:
        return ""
    rows = "".join(
        f"<tr><th>{text(s.label)}</th><td>{s.seeds}</td><td>{_with_interval(s.value, s.low, s.high)}</td>"
        f"<td>{_with_interval(s.behind, s.behind_low, s.behind_high)}</td>"
        f'<td class="words">{text(s.reason or "recommended")}</td></tr>'
        for s in choice.standings
    )
    head = "<tr><th>point</th><th>seeds</th><th>objective</th><th>behind the leader</th><th>why</th></tr>"
    guess = f"<p>{text(choice.proposal.reason)}</p>" if choice.proposal else ""
    asked = [*choice.next_trials, *([choice.proposal.confirm] if choice.proposal else [])]
    commands = "".join(
        f"<p>{trials.trials} trials {text(trials.purpose)}:</p><pre>{_safe(trials.command)}</pre>" for trials in asked
    )
    missing = f"<p>{text(choice.evidence)}</p>" if choice.evidence else ""
    after = f"<h3>Run next</h3>{missing}{guess}{commands}" if missing or commands else ""
    return f"""<section><h2>Why</h2>
<div class="scroll"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>
<p class="small">Objective: {text(choice.objective)}, with 95 % intervals over items and, where points have
several seeds, over seeds. Those of the differences hold for all points together.</p>{after}</section>
"""


def _with_interval(value: float, low: float, high: float) -> str:
    if math.isnan(value) or math.isnan(low):
        return number(value)
    return f'{value:.1f} <span class="error">{low:.1f} to {high:.1f}</span>'


def scores_section(study: StudyReport, plots: Sequence[Plot]) -> str:
    """Score against alpha: overall and each benchmark."""
    if not plots:
        return ""
    title = "Score against alpha" if study.ratio_is_swept else "Scores"
    return f"""<section><h2>{title}</h2>{_legend(study)}
<div class="grid">{"".join(map(_figure, plots))}</div>
<p class="small">Bars are one standard error over items. The larger disc is the recommended trial; a ring is a trial
that may not win.</p></section>
"""


def curves_section(study: StudyReport, plots: Sequence[Plot]) -> str:
    """Reward, length and KL over PPO's steps."""
    if not plots:
        return ""
    return f"""<section><h2>Training</h2>{_legend(study)}
<div class="grid">{"".join(map(_figure, plots))}</div>
<p class="small">Thick: moving mean; thin: as measured. A cross marks the step at which a fault began (filled: certain,
open: suspected).</p></section>
"""


def _legend(study: StudyReport) -> str:
    chips = "".join(
        f'<button type="button" data-slot="{slot}" aria-pressed="true">'
        f'<i class="swatch" style="background:var(--slot-{slot})"></i>{text(result.label)}</button>'
        for slot, result in enumerate(study.ordered)
    )
    return f'<div class="legend" title="click to hide or show a trial">{chips}</div>'


def _figure(plot: Plot) -> str:
    return (
        f"<figure><figcaption><b>{text(plot.title)}</b> {text(plot.unit)}</figcaption>"
        f'<div class="plot" id="{text(plot.key)}" role="img" aria-label="{text(plot.title)}"></div></figure>'
    )


def paper_section(study: StudyReport) -> str:
    """The paper's tables in form; none of its numbers."""
    tables = {
        "Paradigms against BAI (the paper's table 1 in form)": paradigms_table(study),
        "The merging ratio (the paper's table 2 in form)": ratio_table(study),
    }
    shown = "".join(f"<h3>{text(title)}</h3>{_table(table)}" for title, table in tables.items() if table)
    note = '<p class="small">This study\'s numbers only. Bold: the best of each benchmark.</p>'
    return f"<section><h2>In the paper's form</h2>{note}{shown}</section>\n" if shown else ""


def _table(table: Table) -> str:
    head = "".join(f"<th>{text(name)}</th>" for name in table.columns)
    rows = []
    for i, row in enumerate(table.rows):
        cells = [f"<b>{text(cell)}</b>" if (i, j) in table.best else text(cell) for j, cell in enumerate(row)]
        rows.append(f"<tr><th>{cells[0]}</th>{''.join(f'<td>{cell}</td>' for cell in cells[1:])}</tr>")
    note = f'<p class="small">{text(table.note)}</p>' if table.note else ""
    body = "".join(rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{note}'


def recipes_section(study: StudyReport) -> str:
    """How each trial's actor was made, how long it took, and its whole configuration."""
    if not study.results:
        return ""
    return f"<section><h2>Recipes</h2>{''.join(_recipe(study, result) for result in study.ordered)}</section>\n"


def _recipe(study: StudyReport, result: TrialResult) -> str:
    setting = study.settings.get(result.number)
    times = ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in result.seconds.items())
    sources = "".join(
        f"<li>{text(name)}: <code>{_safe(source)}</code></li>" for name, source in result.recipe.sources.items()
    )
    config = f"<p>Whole configuration:</p><pre>{_safe(setting.config)}</pre>" if setting else ""
    again = f"<p>Alone, once more:</p><pre>{_safe(setting.command)}</pre>" if setting else ""
    return f"""<details><summary><b>{text(result.label)}</b> <code>{text(result.recipe.formula())}</code></summary>
<ul>{sources}</ul><p>Trial {result.number}, seed {result.seed}; {text(times)}.</p>{again}{config}</details>
"""


def repeat_section(study: StudyReport) -> str:
    """The commands that make it all again."""
    again = f"<p>The run:</p><pre>{_safe(study.command)}</pre>" if study.command else ""
    rebuild = shlex.join(["python", "-m", "bai_sweep.report", str(study.folder)])
    page = f"<p>This page, from the study's folder:</p><pre>{text(rebuild)}</pre>" if study.trials_folder else ""
    return f"<section><h2>To repeat it</h2>{again}{page}</section>\n" if again or page else ""


def unfinished_section(study: StudyReport) -> str:
    """Trials that failed, with the reason, and trials that have not ended."""
    lines = [_failure(study, number, reason) for number, reason in study.failures.items()]
    lines += [
        f"<li>Trial {number}{_asked(study, number)} has not ended: it is running, or its worker stopped. "
        "The same command with <code>resume=true</code> finishes it.</li>"
        for number in study.pending
    ]
    return f'<section class="unfinished"><h2>Not finished</h2><ul>{"".join(lines)}</ul></section>\n' if lines else ""


def _failure(study: StudyReport, number: int, reason: str) -> str:
    first, _, rest = reason.partition("\n")
    trace = f"<details><summary>traceback</summary><pre>{_safe(rest.strip())}</pre></details>" if rest.strip() else ""
    return f"<li>Trial {number}{_asked(study, number)} failed: <code>{_safe(first)}</code>{trace}</li>"


def _asked(study: StudyReport, number: int) -> str:
    setting = study.settings.get(number)
    return f" ({text(', '.join(setting.overrides))})" if setting and setting.overrides else ""


def _safe(value: str) -> str:
    """Text from a configuration, without the passwords that an address may carry."""
    return text(_CREDENTIALS.sub("***", value))
