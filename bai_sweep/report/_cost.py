"""What the trials took: seconds by stage, tokens, tokens a second; by point and of the whole study."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from bai_sweep.records import TrialResult
from bai_sweep.report._points import places
from bai_sweep.report._spec import Axis, Figure, Panel, Trace
from bai_sweep.report._study import Point, StudyReport
from bai_sweep.report._table import ABSENT, Table
from bai_sweep.report._text import hover

_PARTS = ("rollout", "scoring", "training")  # of PPO, as the telemetry has them


def seconds_of(result: TrialResult) -> dict[str, float]:
    """Wall time by stage, PPO split into the parts that its telemetry has and the rest."""
    found: dict[str, float] = {}
    for stage, seconds in result.seconds.items():
        parts = {part: _total(result, f"seconds/{part}") for part in _PARTS} if stage == "ppo" else {}
        parts = {f"PPO: {part}": value for part, value in parts.items() if value > 0.0}
        rest = max(seconds - math.fsum(parts.values()), 0.0)
        found |= {**parts, "PPO: other": rest} if parts else {"PPO" if stage == "ppo" else stage: seconds}
    return found


def tokens_of(result: TrialResult) -> float:
    """Tokens of all completions of training: of each step completions times mean length; NaN if not known."""
    total, before = 0.0, 0.0
    for step in result.telemetry:
        if not {"episode", "completions/mean_length"} <= step.metrics.keys():
            return math.nan
        total += (step.metrics["episode"] - before) * step.metrics["completions/mean_length"]
        before = step.metrics["episode"]
    return total if result.telemetry else math.nan


def cost_figure(study: StudyReport) -> Figure | None:
    """Seconds by stage and tokens a second of each point."""
    shown = study.finished
    panels = [panel for panel in (_seconds(study, shown), _speed(study, shown)) if panel]
    if not panels:
        return None
    note = "Wall time on the machine of each trial; of a point with several seeds the mean of one trial."
    return Figure("cost", "Cost", tuple(panels), note, legend=False)


def cost_table(study: StudyReport) -> Table | None:
    """The whole study: seconds and share of each stage, then tokens, tokens a second, and what passed on the clock."""
    stages = _sum([seconds_of(result) for result in study.results])
    whole = math.fsum(stages.values())
    if not whole:
        return None
    rows = [(stage, duration(value), f"{100 * value / whole:.0f} %") for stage, value in stages.items()]
    rows.append((f"all {len(study.results)} finished trials", duration(whole), "100 %"))
    tokens = math.fsum(value for r in study.results if math.isfinite(value := tokens_of(r)))
    if tokens:
        training = math.fsum(r.seconds.get("ppo", 0.0) for r in study.results if math.isfinite(tokens_of(r)))
        rows.append(("tokens in training", f"{tokens:,.0f}", ABSENT))
        rows.append(("tokens a second of PPO", f"{tokens / training:,.0f}" if training else ABSENT, ABSENT))
    if study.spans:
        begun, ended = min(start for start, _ in study.spans.values()), max(end for _, end in study.spans.values())
        rows.append(("on the clock, first to last trial", duration(ended - begun), ABSENT))
    return Table(("", "whole study", "share"), tuple(rows), frozenset({(len(stages), 0), (len(stages), 1)}))


def duration(seconds: float) -> str:
    """`42 s`, `3 min 20 s`, `5 h 10 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if (whole := round(seconds)) < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _sum(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: math.fsum(part.get(name, 0.0) for part in parts) for name in names}


def _mean(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: value / len(parts) for name, value in _sum(parts).items()}


def _seconds(study: StudyReport, shown: Sequence[Point]) -> Panel | None:
    means = [
        {name: value / len(p.trials) for name, value in _sum([seconds_of(r) for r in p.trials]).items()} for p in shown
    ]
    stages = list(dict.fromkeys(name for mean in means for name in mean))
    if not stages:
        return None
    labels = names_of(study, shown)
    bars = tuple(
        Trace(
            labels,
            tuple(mean.get(stage, 0.0) for mean in means),
            f"hue:{k}",
            "bars",
            stage,
            hover=f"%{{x}}, {hover(stage)}: %{{y:.1f}} s",
        )
        for k, stage in enumerate(stages)
    )
    return Panel(
        "cost-seconds",
        "Time of a trial",
        "seconds by stage",
        bars,
        Axis(_axis(study), categories=labels),
        Axis(low=0.0),
        named=True,
    )


def _speed(study: StudyReport, shown: Sequence[Point]) -> Panel | None:
    means = [[r for r in p.trials if r.seconds.get("ppo") and math.isfinite(tokens_of(r))] for p in shown]
    if not any(means):
        return None
    rates = tuple(
        math.fsum(map(tokens_of, trials)) / math.fsum(r.seconds["ppo"] for r in trials) if trials else math.nan
        for trials in means
    )
    labels = names_of(study, shown)
    bars = Trace(labels, rates, "hue:0", "bars", "tokens a second", hover="%{x}: %{y:,.0f} tokens a second")
    return Panel(
        "cost-speed",
        "Speed of PPO",
        "response tokens a second",
        (bars,),
        Axis(_axis(study), categories=labels),
        Axis(low=0.0),
    )


def names_of(study: StudyReport, shown: Sequence[Point]) -> tuple[str, ...]:
    """Names for a bar each: the ratio or the point, and if two have the same the trial's number."""
    labels = [f"{x:.3g}" if isinstance(x, float) else x for x in places(study, shown)]
    if len(set(labels)) < len(labels):
        labels = [f"#{point.first.number}" for point in shown]
    return tuple(labels)


def _axis(study: StudyReport) -> str:
    return "alpha" if study.ratio_is_swept else ""


def _total(result: TrialResult, metric: str) -> float:
    return math.fsum(step.metrics.get(metric, 0.0) for step in result.telemetry)
