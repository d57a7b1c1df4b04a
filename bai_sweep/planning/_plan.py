"""A study's plan: its trials, and what each of them and all together take."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum

from bai_sweep.config import TrialConfig
from bai_sweep.planning._assumptions import Assumptions, Device, device_of_trial
from bai_sweep.planning._calibration import Calibration
from bai_sweep.planning._estimate import Estimate, estimate
from bai_sweep.planning._figures import Figure
from bai_sweep.planning._items import Counted
from bai_sweep.planning._memory import Memory
from bai_sweep.planning._notes import notes_of
from bai_sweep.planning._savings import Ending, Savings, savings_of
from bai_sweep.records import StepTelemetry

STAGES = ("merge", "PPO", "evaluation")


@dataclass(frozen=True)
class StudyPlan:
    """What a study takes. Figures have a value of None where nobody here can know it, with the reason.

    Args:
        points: Of the search space.
        seeds: Each point is run with.
        workers: Trials at a time.
        steps: Of PPO, in all.
        tokens: Of responses, in all, at most.
        items: Of each benchmark, in a trial.
        seconds: Of each stage of a trial, mean over the points.
        duration: Seconds from the first trial's start to the last one's end.
        gpu_hours: In all.
        memory: Bytes of a trial at its fullest, by the models' sizes at the longest responses.
        memory_parts: What takes them.
        measured_memory: Bytes that the calibration took.
        checkpoint: Bytes of one of PPO's.
        disk: Bytes of a trial while it runs, its checkpoints included.
        kept: Bytes that a finished trial leaves.
        savings: What pruners would have saved of earlier trials.
        notes: What the figures do not say.
    """

    points: int
    seeds: int
    workers: int
    steps: Figure
    tokens: Figure
    items: Mapping[str, Counted]
    seconds: Mapping[str, Figure]
    duration: Figure
    gpu_hours: Figure
    memory: Figure
    memory_parts: Memory | None
    measured_memory: Figure | None
    checkpoint: Figure
    disk: Figure
    kept: Figure
    savings: Savings
    notes: tuple[str, ...]

    @property
    def trials(self) -> int:
        """Points times seeds."""
        return self.points * self.seeds


def describe(
    configs: Sequence[TrialConfig],
    *,
    points: int,
    seeds: int,
    workers: int,
    ending: Ending | None = None,
    measured: Calibration | None = None,
    telemetry: Sequence[Sequence[StepTelemetry]] = (),
    assumed: Assumptions | None = None,
) -> StudyPlan:
    """Plans a study; nothing is run, loaded or written.

    Args:
        configs: Of points of the search space, checked: all of a small grid, the ends of an interval.
        points: That the study will try.
        seeds: Each with.
        workers: Trials at a time.
        ending: How it ends trials early; None: it does not.
        measured: What a calibration of one of the points measured; None: all is told from the models' sizes.
        telemetry: Of earlier trials like these, all steps of each.
        assumed: What stands in for what was not measured.

    Raises:
        UserError: The checkpoints of a point do not fit together.
        ValueError: There is no point.
    """
    if not configs or points < 1:
        raise ValueError("a plan is made of one point or more, with the configuration of each that was looked at")
    assumed = assumed or Assumptions()
    device = device_of_trial(configs[0], assumed, workers=workers)
    estimates = [estimate(config, device, measured, assumed) for config in configs]
    # of a space that is not finite, or of more points than were looked at, each stands for its share
    trials = [estimates[place * len(configs) // points] for place in range(points) for _ in range(seeds)]
    looked_at = "" if points == len(configs) else f"; {len(configs)} of {points} points were looked at"
    largest = max(estimates, key=lambda one: one.memory.value or 0.0)
    return StudyPlan(
        points=points,
        seeds=seeds,
        workers=workers,
        steps=Figure(sum(one.steps for one in trials), f"rl.steps of each trial{looked_at}"),
        tokens=Figure(sum(one.tokens for one in trials), "at most: steps, rl.batch_size, rl.max_new_tokens"),
        items=max((one.items for one in estimates), key=lambda items: sum(c.requests for c in items.values())),
        seconds={stage: _mean([one.seconds[stage] for one in trials]) for stage in STAGES},
        duration=_duration(trials, workers),
        gpu_hours=_gpu_hours(trials, device),
        memory=largest.memory,
        memory_parts=largest.memory_parts,
        measured_memory=None if measured is None else _measured_memory(measured),
        checkpoint=_most([one.checkpoint for one in estimates]),
        disk=_most([one.disk for one in estimates]),
        kept=_most([one.kept for one in estimates]),
        savings=savings_of(telemetry, configs[0], ending or Ending()),
        notes=notes_of(configs[0], estimates, measured, device, assumed, workers=workers),
    )


def _mean(figures: Sequence[Figure]) -> Figure:
    known = [figure.value for figure in figures if figure.value is not None]
    unknown = next((figure for figure in figures if figure.value is None), None)
    return unknown or Figure(fsum(known) / len(known), figures[0].source)


def _most(figures: Sequence[Figure]) -> Figure:
    return max(figures, key=lambda figure: -1.0 if figure.value is None else figure.value)


def _duration(trials: Sequence[Estimate], workers: int) -> Figure:
    """Each trial goes to the worker that is free first."""
    free = [0.0] * min(workers, len(trials))
    for one in trials:
        if one.total is None:
            return Figure(None, one.why_no_total)
        heapq.heapreplace(free, free[0] + one.total)
    at_a_time = f", {workers} at a time" if workers > 1 else ""
    return Figure(max(free), f"{len(trials)} trial{'s' if len(trials) > 1 else ''}{at_a_time}")


def _gpu_hours(trials: Sequence[Estimate], device: Device) -> Figure:
    if device.kind == "cpu":
        return Figure(0.0, "a CPU computes")
    seconds = [one.total for one in trials]
    if any(value is None for value in seconds):
        return Figure(None, next(one.why_no_total for one in trials if one.total is None))
    total = fsum(value for value in seconds if value is not None)
    gpus = f"{device.count} GPUs" if device.count > 1 else "a GPU"
    return Figure(total * device.count / 3600.0, f"the time of all trials, {gpus} each")


def _measured_memory(measured: Calibration) -> Figure:
    what = "tensors on the GPU" if measured.device.startswith("cuda") else "the process, libraries and all"
    length = f", responses of {measured.mean_length:.0f} tokens" if measured.mean_length else ""
    return Figure(measured.peak_bytes, f"measured here: {what}{length}")
