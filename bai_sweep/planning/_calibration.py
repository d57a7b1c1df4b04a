"""What was measured of one point of a study, and what follows from it for other numbers of steps and items."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import ceil
from pathlib import Path

from bai_sweep.config import NoRL, TrialConfig, parse_mapping


@dataclass(frozen=True)
class MeasuredBenchmark:
    """A few items of a benchmark, run twice: some, and more.

    Args:
        load_seconds: Until its first item.
        fewer: Items of the first run, and the seconds from its first item to its last verdict.
        more: Of the second.
        tokens_per_item: Of prompt and response, which say how many items are in a batch.
        bytes_per_item: In the trial's folder.
    """

    load_seconds: float
    fewer: tuple[int, float]
    more: tuple[int, float]
    tokens_per_item: float
    bytes_per_item: float

    @property
    def seconds_per_item(self) -> float:
        """What an item more in a batch takes; of runs of equally many items, what an item took."""
        (n, first), (m, second) = self.fewer, self.more
        return max((second - first) / (m - n), 0.0) if m > n else second / max(m, 1)

    def seconds(self, items: int, batch_tokens: int) -> float:
        """Of the whole benchmark: each item, and of each batch what it takes however few items it has."""
        fixed = max(self.more[1] - self.seconds_per_item * self.more[0], 0.0)
        batches = max(ceil(items * self.tokens_per_item / batch_tokens), 1)
        return self.load_seconds + items * self.seconds_per_item + batches * fixed


@dataclass(frozen=True)
class Calibration:
    """What a few steps of one point took on this machine.

    Args:
        config: The point.
        device: Where it ran.
        threads: CPU threads that it had.
        steps: Steps of PPO that were timed: all but the first.
        merge_seconds: Of the merge, and of moving the actor to its device.
        step_seconds: Median over the steps; None without RL.
        mean_length: Tokens of their responses.
        set_up_seconds: Of PPO before its first step and after its last.
        checkpoint_seconds: Of writing a checkpoint; None where there is none.
        checkpoint_bytes: Of a checkpoint.
        peak_bytes: Of memory: on a CPU of the process (RSS), on a GPU of tensors.
        benchmarks: Those that could be run.
        missing: Why the others were not, by name.
    """

    config: TrialConfig
    device: str
    threads: int
    steps: int
    merge_seconds: float
    step_seconds: float | None
    mean_length: float | None
    set_up_seconds: float
    checkpoint_seconds: float | None
    checkpoint_bytes: int | None
    peak_bytes: float
    benchmarks: Mapping[str, MeasuredBenchmark] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    def ppo_seconds(self, config: TrialConfig, scale: float = 1.0) -> float | None:
        """Of the PPO of a trial.

        Args:
            config: The trial's.
            scale: Its work a step over that of the point that was measured.
        """
        rl = config.rl
        if isinstance(rl, NoRL):
            return 0.0
        if self.step_seconds is None:
            return None
        # the last step has one whatever the interval
        written = ceil(rl.steps / rl.checkpoint_steps) if rl.checkpoint_steps else 0
        writing = written * (self.checkpoint_seconds or 0.0)
        return self.set_up_seconds + rl.steps * self.step_seconds * scale + writing

    def write(self, path: Path) -> None:
        """As JSON."""
        raw = asdict(self) | {"config": self.config.model_dump(mode="json")}
        path.write_text(json.dumps(raw), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Calibration:
        """What `write` wrote."""
        raw = json.loads(path.read_text(encoding="utf-8"))
        benchmarks = {
            name: MeasuredBenchmark(**{**found, "fewer": tuple(found["fewer"]), "more": tuple(found["more"])})
            for name, found in raw["benchmarks"].items()
        }
        return cls(**{**raw, "config": parse_mapping(raw["config"]), "benchmarks": benchmarks})
