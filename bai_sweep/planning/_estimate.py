"""What one trial takes: measured where there is a calibration, else told from the models' sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import fsum

from bai_sweep.config import NoRL, TrialConfig
from bai_sweep.planning._assumptions import Assumptions, Device
from bai_sweep.planning._calibration import Calibration
from bai_sweep.planning._disk import disk_of
from bai_sweep.planning._figures import Figure
from bai_sweep.planning._items import Counted, count_items
from bai_sweep.planning._memory import Memory, memory_of
from bai_sweep.planning._sizes import Sizes, sizes_of
from bai_sweep.planning._units import rate, size
from bai_sweep.planning._work import evaluation_seconds, step_seconds, step_work


@dataclass(frozen=True)
class Estimate:
    """What one trial takes.

    Args:
        steps: Of PPO.
        tokens: Of responses, at most.
        items: Of each benchmark.
        seconds: Of merge, PPO and evaluation.
        memory: Bytes at its fullest.
        memory_parts: What takes them.
        checkpoint: Bytes of a checkpoint.
        disk: Bytes while it runs.
        kept: Bytes that it leaves.
    """

    steps: int
    tokens: int
    items: Mapping[str, Counted]
    seconds: Mapping[str, Figure]
    memory: Figure
    memory_parts: Memory | None
    checkpoint: Figure
    disk: Figure
    kept: Figure

    @property
    def total(self) -> float | None:
        """Seconds of all stages; None where one is not known."""
        known = [figure.value for figure in self.seconds.values() if figure.value is not None]
        return fsum(known) if len(known) == len(self.seconds) else None

    @property
    def why_no_total(self) -> str:
        """The reason that a stage's time is not known."""
        return next((figure.source for figure in self.seconds.values() if figure.value is None), "")


@dataclass(frozen=True)
class _Trial:
    """All that is known of a trial before it is estimated."""

    config: TrialConfig
    sizes: Sizes
    items: Mapping[str, Counted]
    device: Device
    measured: Calibration | None
    assumed: Assumptions

    @property
    def why_unknown(self) -> str:
        """Why there is no figure that needs the size of every network."""
        return "; ".join(self.sizes.unknown.values()) or "its config.json has other names for a decoder's widths"


def estimate(config: TrialConfig, device: Device, measured: Calibration | None, assumed: Assumptions) -> Estimate:
    """Estimates a trial.

    Args:
        config: The trial's.
        device: What computes it.
        measured: Of this or another point of the study; then this one's steps count by their work.
        assumed: What stands in for what was not measured.

    Raises:
        UserError: Its checkpoints do not fit together.
    """
    trial = _Trial(config, sizes_of(config), count_items(config), device, measured, assumed)
    rl = config.rl
    steps = 0 if isinstance(rl, NoRL) else rl.steps
    memory = memory_of(config, trial.sizes, device, assumed)
    checkpoint, disk, kept = _on_disk(trial)
    return Estimate(
        steps=steps,
        tokens=0 if isinstance(rl, NoRL) else steps * rl.batch_size * rl.max_new_tokens,
        items=trial.items,
        seconds={"merge": _merge(trial), "PPO": _ppo(trial), "evaluation": _evaluation(trial)},
        memory=Figure(None, trial.why_unknown) if memory is None else Figure(memory.total, _fullest(memory, config)),
        memory_parts=memory,
        checkpoint=checkpoint,
        disk=disk,
        kept=kept,
    )


def _fullest(memory: Memory, config: TrialConfig) -> str:
    processes = getattr(config.rl, "num_processes", 1)
    each = f", each of {processes} processes" if processes > 1 else ""
    return f"from the model's size, in {memory.phase} of the longest rows{each}"


def _merge(trial: _Trial) -> Figure:
    if trial.measured is not None:
        return Figure(trial.measured.merge_seconds, "measured here")
    if trial.sizes.actor is None:
        return Figure(None, trial.why_unknown)
    read = (1 + len(trial.config.model.sft)) * trial.sizes.actor.parameters * 2.0
    return Figure(
        read / trial.assumed.disk, f"from the model's size: {size(read)} read at {size(trial.assumed.disk)}/s"
    )


def _ppo(trial: _Trial) -> Figure:
    config, measured = trial.config, trial.measured
    if isinstance(config.rl, NoRL):
        return Figure(0.0, "no RL")
    seconds = None if measured is None else measured.ppo_seconds(config, _scale(trial, measured))
    if measured is not None and seconds is not None:
        return Figure(
            seconds,
            f"measured by {measured.steps} steps here: {measured.step_seconds:.3g} s a step, responses of "
            f"{measured.mean_length:.0f} tokens",
        )
    work = step_work(config, trial.sizes, trial.assumed)
    step = step_seconds(config, trial.sizes, trial.device, trial.assumed)
    if work is None or step is None:
        return Figure(None, trial.why_unknown)
    return Figure(
        step * config.rl.steps,
        f"from the model's size: {rate(work.total)}FLOPs a step at the longest responses, {_rate(trial)}",
    )


def _scale(trial: _Trial, measured: Calibration) -> float:
    """The work of this trial's step over that of the one that was measured; 1 where either is not known."""
    if trial.config.rl == measured.config.rl:
        return 1.0
    mine = step_work(trial.config, trial.sizes, trial.assumed)
    theirs = step_work(measured.config, sizes_of(measured.config), trial.assumed)
    return mine.total / theirs.total if mine and theirs else 1.0


def _evaluation(trial: _Trial) -> Figure:
    """Each benchmark as it was measured, or else by the actor's size; the source says which, and what is left out."""
    if not trial.items:
        return Figure(0.0, "no benchmarks")
    timed = {} if trial.measured is None else trial.measured.benchmarks
    batch = trial.config.evaluation.batch_tokens
    known = {
        name: timed[name].seconds(counted.requests, batch)
        for name, counted in trial.items.items()
        if name in timed and counted.items is not None
    }
    rest = {name: counted for name, counted in trial.items.items() if name not in known}
    guessed = evaluation_seconds(trial.config, rest, trial.sizes, trial.device, trial.assumed)
    absent = [name for name in rest if name not in guessed]
    if not known and not guessed:
        return Figure(None, trial.why_unknown if trial.sizes.actor is None else f"unknown: {', '.join(absent)}")
    sources = [
        *([f"measured by {sum(timed[n].more[0] for n in known)} items here{_of(known, trial)}"] if known else []),
        *([f"from the model's size, {_answers(trial)}, {_rate(trial)}{_of(guessed, trial)}"] if guessed else []),
        *([f"without {', '.join(absent)}"] if absent else []),
    ]
    return Figure(fsum([*known.values(), *guessed.values()]), "; ".join(sources))


def _of(some: Mapping[str, float], trial: _Trial) -> str:
    """Which benchmarks, unless it is all of them."""
    return "" if len(some) == len(trial.items) else f" ({', '.join(some)})"


def _answers(trial: _Trial) -> str:
    answer = min(trial.assumed.answer_tokens, trial.config.evaluation.max_new_tokens)
    return f"questions of {trial.assumed.question_tokens} and answers of {answer} tokens"


def _rate(trial: _Trial) -> str:
    return f"{rate(trial.device.flops)}FLOP/s of {trial.device.name} used to {trial.assumed.utilisation:.0%}"


def _on_disk(trial: _Trial) -> tuple[Figure, Figure, Figure]:
    """A checkpoint, all while the trial runs, and what it leaves; with what was measured of them, if it was."""
    measured = trial.measured
    disk = disk_of(trial.config, trial.sizes, trial.items, trial.assumed)
    if disk is None:
        unknown = Figure(None, trial.why_unknown)
        return unknown, unknown, unknown
    size_of_one, source = disk.checkpoint, "from the model's size: weights and Adam's states of what is trained"
    samples = disk.samples
    if measured is not None:
        if size_of_one is not None and measured.checkpoint_bytes is not None:
            size_of_one, source = float(measured.checkpoint_bytes), "measured here"
        each = {name: found.bytes_per_item for name, found in measured.benchmarks.items()}
        samples = fsum(c.requests * each.get(n, trial.assumed.sample_bytes) for n, c in trial.items.items())
    kept = fsum(disk.saved.values()) + samples
    parts = " and ".join([*disk.saved, "samples"])
    return (
        Figure(size_of_one or 0.0, source if size_of_one else "none is written"),
        Figure(
            (size_of_one or 0.0) * disk.kept + kept, f"{disk.kept} checkpoints, one of them being written; {parts}"
        ),
        Figure(kept, parts),
    )
