"""A few steps of PPO, and the clock beside them."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, final

from bai_sweep.config import GroupSettings, NoRL, PPOSettings, TrialConfig
from bai_sweep.records import StepTelemetry

if TYPE_CHECKING:
    from bai_sweep.merging import InitialActor

_PHASES = ("rollout", "scoring", "training")


@final
class MeasuredSteps:
    """PPO's steps of a calibration.

    Args:
        config: The point's.
        folder: Of the run, where its checkpoint is written; not there yet.
        steps: How many, at most as many as the trial has.
    """

    def __init__(self, config: TrialConfig, folder: Path, steps: int) -> None:
        self.config, self.folder = config, folder
        self.rl = None if isinstance(config.rl, NoRL) else shortened(config.rl, steps)
        self.set_up_seconds = 0.0
        self.checkpoint_seconds: float | None = None
        self.checkpoint_bytes: int | None = None
        self.peak_bytes = 0.0
        self._steps: list[StepTelemetry] = []
        self._heard: list[float] = []

    @property
    def timed(self) -> list[float]:
        """Seconds of each step but the first, in which memory is found and kernels are chosen."""
        return self._seconds()[1:] or self._seconds()

    @property
    def lengths(self) -> list[float]:
        """Mean tokens of the responses of the steps that are timed."""
        return [step.metrics["completions/mean_length"] for step in self._steps[1:] or self._steps]

    def train(self, initial: InitialActor) -> None:
        """Runs the steps, if the trial has any; the actor is trained in place."""
        from bai_sweep import ppo

        config, rl = self.config, self.rl
        if rl is None:
            return
        self.folder.mkdir(parents=True)
        self._heard.append(time.perf_counter())
        ppo.train(
            initial.model,
            initial.tokenizer,
            rl,
            config.reward,
            seed=config.seed,
            device=initial.model.device,
            on_step=self._hear,
            folder=self.folder,
            probes=config.model.sft if isinstance(rl, PPOSettings) and rl.kl_to_sft else None,
        )
        finished = time.perf_counter() - self._heard[-1]
        between = [end - start for start, end in pairwise(self._heard)]
        around = [total - within for total, within in zip(between, self._seconds(), strict=True)]
        self.set_up_seconds = max(around[0], 0.0) + finished
        if rl.checkpoint_steps and len(around) > 1:
            self.checkpoint_seconds = max(around[-1], 0.0)
        self.checkpoint_bytes = _newest_bytes(self.folder / "checkpoints")

    def _seconds(self) -> list[float]:
        return [sum(step.metrics[f"seconds/{phase}"] for phase in _PHASES) for step in self._steps]

    def _hear(self, step: StepTelemetry) -> None:
        self._heard.append(time.perf_counter())
        self._steps.append(step)
        alone = not isinstance(self.rl, PPOSettings) or self.rl.num_processes == 1
        if alone and self.config.device == "cpu":
            return  # the whole process's, which is asked for at the end
        self.peak_bytes = max(self.peak_bytes, step.metrics["memory/peak_mib"] * 2**20)


def shortened(rl: PPOSettings | GroupSettings, steps: int) -> PPOSettings | GroupSettings:
    """As many steps; without warm-ups, which would leave out what a step mostly does; one checkpoint, at the end."""
    steps = min(steps, rl.steps)
    update = {"steps": steps, "lr_warmup_steps": 0, "checkpoint_steps": steps if rl.checkpoint_steps else 0}
    return rl.model_copy(update=update | ({"critic_warmup_steps": 0} if isinstance(rl, PPOSettings) else {}))


def _newest_bytes(checkpoints: Path) -> int | None:
    steps = sorted(checkpoints.glob("step-*"))
    return sum(file.stat().st_size for file in steps[-1].iterdir()) if steps else None
