"""The parts of the page, each a function from the study to HTML."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path

from bai_sweep.records import TrialResult, Verdict
from bai_sweep.report._comparison import fault, swept, verdict
from bai_sweep.report._cost import cost_table, duration
from bai_sweep.report._gallery import Legend
from bai_sweep.report._paper import paradigms_table, ratio_table
from bai_sweep.report._parts import figure_html, table_html
from bai_sweep.report._points import Estimate, is_winner, mean_of, score
from bai_sweep.report._spec import Figure
from bai_sweep.report._study import OVERALL, Point, StudyReport
from bai_sweep.report._table import ABSENT, number, plain, probability, with_error
from bai_sweep.report._text import safe, text

_ROWS = 40  # of a table, before the rest is folded away


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
{evidence(study)}
{_link(study)}
</header>
"""


def evidence(study: StudyReport) -> str:
    """What the choice knows beside its paragraph: whatever `records.Choice` has for people is shown here."""
    choice = study.choice
    if choice is None or not choice.ineligible:
        return ""
    barred = [(p, why) for p in study.finished if (why := choice.ineligible.get(p.first.number))]
    listed = "".join(f"<li><b>{text(point.label)}</b>: {text(why)}</li>" for point, why in barred)
    count = f"{len(barred)} of {len(study.finished)} points"
    return f"<details><summary>Ruled out: {count}</summary><ul>{listed}</ul></details>"


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
    point = next(point for point in study.finished if winner in point.trials)
    overall = score(study, point, OVERALL)
    sure = study.choice.best_probability.get(winner.number, math.nan) if study.choice else math.nan
    seeds = f", {len(point.trials)} seeds" if len(point.trials) > 1 else ""
    figures = {
        f"overall score{seeds}": with_error(overall.value, overall.error),
        "probability of being best": probability(sure) if math.isfinite(sure) else ABSENT,
        "training": _worst(point),
        "response length, end / start": _times(mean_of(point, lambda r: r.diagnosis.length_ratio)),
        "final KL, nats": number(mean_of(point, lambda r: r.diagnosis.final_kl), 2),
    }
    cells = "".join(f"<div><dt>{name}</dt><dd>{text(value)}</dd></div>" for name, value in figures.items())
    return f'<dl class="figures">{cells}</dl>'


def _worst(point: Point) -> str:
    """The faults of all its trials, each once."""
    return ", ".join(dict.fromkeys(verdict(result.diagnosis) for result in point.trials))


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
    """Every finished point in a row, and each trial of points that were repeated."""
    shown = study.finished
    if not shown:
        return ""
    many = study.repeated
    rows = [_row(study, point, point.trials, single=False) for point in shown]
    error = (
        "± one standard error, of the items and of the seeds together" if many else "± one standard error over items"
    )
    each = ""
    if many:
        singles = [_row(study, point, (result,), single=True) for point in shown for result in point.trials]
        table = _table_of(study, singles, seed=True)
        each = f"<details><summary>Each of the {len(singles)} trials</summary>{table}</details>"
    return f"""<section><h2>The {"points" if many else "trials"}</h2>
{_table_of(study, rows, seed=False)}{each}
<p class="small">Scores in points, {error}. P(best) is the probability that a point's overall
score is the best of the eligible ones, by a bootstrap. KL is nats per sequence at the end; length is the mean response
length at the end over that at the start.</p></section>
"""


def _table_of(study: StudyReport, rows: Sequence[str], seed: bool) -> str:
    params = [name for key, name in swept(study).items() if seed or key != "seed" or len(swept(study)) == 1]
    names = [*(params or ["trial"]), *(["seeds"] if study.repeated and not seed else []), OVERALL, *study.benchmarks]
    head = "".join(f"<th>{text(name)}</th>" for name in [*names, "P(best)", "KL", "length", "training"])
    first, rest = rows[:_ROWS], rows[_ROWS:]
    table = _filled(head, first)
    return f"{table}<details><summary>{len(rest)} more</summary>{_filled(head, rest)}</details>" if rest else table


def _filled(head: str, rows: Sequence[str]) -> str:
    body = "".join(rows)
    return (
        f'<div class="scroll"><table class="trials"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _row(study: StudyReport, point: Point, trials: tuple[TrialResult, ...], single: bool) -> str:
    choice, own = study.choice, Point(point.slot, trials)
    keys = [key for key in swept(study) if single or key != "seed" or len(swept(study)) == 1]
    swatch = f'<i class="swatch" style="background:var(--slot-{point.slot})"></i>'
    first, *others = [plain(trials[0].params.get(key, ABSENT)) for key in keys] or [point.label]
    sure = choice.best_probability.get(trials[0].number, math.nan) if choice else math.nan
    barred = choice.ineligible.get(trials[0].number) if choice else None
    cells = [
        f"<th>{swatch}{text(first)}</th>",
        *(f"<td>{text(value)}</td>" for value in others),
        *([f"<td>{len(trials)}</td>"] if study.repeated and not single else []),
        f"<td><b>{_scored(score(study, own, OVERALL))}</b></td>",
        *(f"<td>{_scored(score(study, own, name))}</td>" for name in study.benchmarks),
        f"<td>{_bar(sure, point.slot) if barred is None else '<span class=barred>ruled out</span>'}</td>",
        f"<td>{number(mean_of(own, lambda r: r.diagnosis.final_kl), 2)}</td>",
        f"<td>{_times(mean_of(own, lambda r: r.diagnosis.length_ratio))}</td>",
        f'<td class="words">{_training(trials, barred)}</td>',
    ]
    return f"<tr{' class=winner' if is_winner(study, point) else ''}>{''.join(cells)}</tr>"


def _scored(found: Estimate) -> str:
    if math.isnan(found.value) or math.isnan(found.error):
        return number(found.value)
    return f'{found.value:.1f} <span class="error">± {found.error:.1f}</span>'


def _bar(share: float, slot: int) -> str:
    if math.isnan(share):
        return ABSENT
    width = f"width:{100 * share:.0f}%;background:var(--slot-{slot})"
    return f'<span class="bar"><i style="{width}"></i></span> {text(probability(share))}'


def _training(trials: Sequence[TrialResult], barred: str | None) -> str:
    shown = [item for result in trials for item in result.diagnosis.verdicts if item.level != "none"]
    alike: dict[tuple[str, str], list[Verdict]] = {}
    for item in shown:
        alike.setdefault((item.detector, item.level), []).append(item)
    told = [_faults(found, len(trials)) for found in alike.values()]
    # A budget or a missing score stands nowhere else in the row; a verdict does.
    known = {item.detector.replace("_", " ") for item in shown}
    reasons = [part for part in (barred or "").split("; ") if part and not any(name in part for name in known)]
    told += [f'<span class="fault">{text(part)}</span>' for part in reasons]
    early = [result.pruned for result in trials if result.pruned]
    told += [f'<span class="fault">ended early: {text(why)}</span>' for why in dict.fromkeys(early)]
    return "<br>".join(told if shown or early else ["stable", *told])


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
        f"<p>{trials.trials} trials {text(trials.purpose)}:</p><pre>{safe(trials.command)}</pre>" for trials in asked
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


def _faults(found: Sequence[Verdict], trials: int) -> str:
    """The same fault of one trial, or of some of a point's."""
    reasons, first = text("; ".join(item.reason for item in found)), fault(found[0])
    if trials > 1:
        began = sorted(item.onset for item in found if item.onset)
        since = f" from step {began[0]}" if began else ""
        since += f" to {began[-1]}" if began and began[-1] != began[0] else ""
        name = found[0].detector.replace("_", " ")
        first = f"{name} ({found[0].level}) with {len(found)} of {trials} seeds{since}"
    return f'<span class="fault" title="{reasons}">{text(first)}</span>'


def figure_section(figure: Figure | None, colours: Legend, image: str = "") -> str:
    """A figure with its legend and what has to be said of it."""
    if figure is None:
        return ""
    return f"<section><h2>{text(figure.title)}</h2>{figure_html(figure, colours, image)}</section>\n"


def cost_section(study: StudyReport, figure: Figure | None, colours: Legend, image: str = "") -> str:
    """The cost of the whole study, and of each point."""
    table = cost_table(study)
    if table is None:
        return ""
    drawn = figure_html(figure, colours, image) if figure else ""
    return f"<section><h2>Cost</h2>{table_html(table)}{drawn}</section>\n"


def paper_section(study: StudyReport) -> str:
    """The paper's tables in form; none of its numbers."""
    tables = {
        "Paradigms against BAI (the paper's table 1 in form)": paradigms_table(study),
        "The merging ratio (the paper's table 2 in form)": ratio_table(study),
    }
    shown = "".join(f"<h3>{text(title)}</h3>{table_html(table)}" for title, table in tables.items() if table)
    note = '<p class="small">This study\'s numbers only. Bold: the best of each benchmark.</p>'
    return f"<section><h2>In the paper's form</h2>{note}{shown}</section>\n" if shown else ""


def recipes_section(study: StudyReport) -> str:
    """How each trial's actor was made, how long it took, and its whole configuration."""
    if not study.results:
        return ""
    shown = "".join(_recipe(study, result, whole=len(study.results) <= _ROWS) for result in study.ordered)
    if len(study.results) > _ROWS:
        shown = f"<details><summary>{len(study.results)} recipes</summary>{shown}</details>"
    return f"<section class=recipes><h2>Recipes</h2>{shown}</section>\n"


def _recipe(study: StudyReport, result: TrialResult, whole: bool) -> str:
    """Of many trials the configuration is left in their folders: it is the same but for a few lines."""
    setting = study.settings.get(result.number)
    times = ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in result.seconds.items())
    sources = "".join(
        f"<li>{text(name)}: <code>{safe(source)}</code></li>" for name, source in result.recipe.sources.items()
    )
    config = f"<p>Whole configuration:</p><pre>{safe(setting.config)}</pre>" if setting and whole else ""
    again = f"<p>Alone, once more:</p><pre>{safe(setting.command)}</pre>" if setting else ""
    return f"""<details><summary><b>{text(result.label)}</b> <code>{text(result.recipe.formula())}</code></summary>
<ul>{sources}</ul><p>Trial {result.number}, seed {result.seed}; {text(times)}.</p>{again}{config}</details>
"""


def repeat_section(study: StudyReport) -> str:
    """The commands that make it all again."""
    again = f"<p>The run:</p><pre>{safe(study.command)}</pre>" if study.command else ""
    where = [] if study.folder.parent == Path("results") else [f"results_dir={study.folder.parent}"]
    rebuild = shlex.join(["python", "-m", "bai_sweep", "report", f"study={study.folder.name}", *where])
    page = f"<p>This page, from the study's folder:</p><pre>{text(rebuild)}</pre>" if study.trials_folder else ""
    return f"<section><h2>To repeat it</h2>{again}{page}</section>\n" if again or page else ""


def unfinished_section(study: StudyReport) -> str:
    """Trials that failed, with the reason, and trials that have not ended."""
    lines = [_failure(study, number, reason) for number, reason in study.failures.items()]
    steps = {result.number: len(result.telemetry) for result in study.running}
    lines += [
        f"<li>Trial {number}{_asked(study, number)} has not ended{_so_far(steps.get(number))}: it is running, or its "
        "worker stopped. The same command with <code>resume=true</code> finishes it.</li>"
        for number in study.pending
    ]
    return f'<section class="unfinished"><h2>Not finished</h2><ul>{"".join(lines)}</ul></section>\n' if lines else ""


def _so_far(steps: int | None) -> str:
    return f" ({steps} PPO steps so far)" if steps else ""


def _failure(study: StudyReport, number: int, reason: str) -> str:
    first, _, rest = reason.partition("\n")
    trace = f"<details><summary>traceback</summary><pre>{safe(rest.strip())}</pre></details>" if rest.strip() else ""
    return f"<li>Trial {number}{_asked(study, number)} failed: <code>{safe(first)}</code>{trace}</li>"


def _asked(study: StudyReport, number: int) -> str:
    setting = study.settings.get(number)
    keys = swept(study)
    listed = [item for item in setting.overrides if not keys or item.partition("=")[0] in keys] if setting else []
    return f" ({text(', '.join(listed))})" if listed else ""
