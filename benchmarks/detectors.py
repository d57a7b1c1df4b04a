"""Error rates of the detectors: false alarms on healthy series, misses and delays on faulty ones.

Every series is invented, with the noise that steps of the testbed's runs show (batches of 32 responses): response
length has a coefficient of variation of 0.03 to 0.15, rewards a deviation of 0.1 to 0.2, and so on (`NOISE`). An alarm
is a verdict of `suspected` or `certain` at any prefix of the series, as someone sees it who looks after every step,
which is a stricter question than that after the verdict at the end. The delay is counted from the first step at which
the series without its noise is beyond the detector's `suspected` threshold.

    python benchmarks/detectors.py [--series 500]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

import numpy as np
import yaml
from common import ROOT
from numpy.typing import NDArray

from bai_sweep import stability
from bai_sweep.config import StabilityConfig
from bai_sweep.records import Verdict

Floats = NDArray[np.float64]
Rng = np.random.Generator
STEPS = 50
NOISE = {"length": (0.03, 0.15), "reward": (0.1, 0.2), "kl": (0.1, 0.25), "entropy": (0.05, 0.12), "repetition": (0.02, 0.05), "critic": (0.1, 0.15)}  # fmt: skip  # noqa: E501


@dataclass(frozen=True)
class Sample:
    """A series and the same without its noise."""

    values: Floats
    true: Floats


Kind = Callable[[Rng], Sample]


def relative(true: Floats, what: str, rng: Rng) -> Sample:
    """Noise in proportion to the level."""
    return Sample(true * (1.0 + rng.normal(0.0, rng.uniform(*NOISE[what]), len(true))), true)


def absolute(true: Floats, what: str, rng: Rng) -> Sample:
    """Noise of one size."""
    return Sample(true + rng.normal(0.0, rng.uniform(*NOISE[what]), len(true)), true)


def share(true: Floats, what: str, rng: Rng) -> Sample:
    """A share of 32 responses, or of their tokens."""
    if what == "truncation":
        return Sample(rng.binomial(32, np.clip(true, 0.0, 1.0)) / 32.0, true)
    sample = absolute(true, what, rng)
    return Sample(np.clip(sample.values, 0.0, 1.0), true)


def outliers(sample: Sample, rng: Rng) -> Sample:
    """One step in 25 is 0.3 or 2.5 times what it would have been."""
    hit = rng.random(len(sample.values)) < 0.04
    return Sample(np.where(hit, sample.values * rng.choice([0.3, 2.5], len(hit)), sample.values), sample.true)


def wander(steps: int, most: float, rng: Rng) -> Floats:
    """A slow walk between 1 - most and 1 + most."""
    walk = np.cumsum(rng.normal(0.0, 1.0, steps))
    walk -= walk[0]
    scaled: Floats = 1.0 + most * walk / max(float(np.abs(walk).max()), 1e-9)
    return scaled


def settling(start: float, end: float, steps: int, rng: Rng, slowest: float | None = None) -> Floats:
    """From one level to another, fast at first."""
    return end + (start - end) * np.exp(-np.arange(steps) / rng.uniform(1.5, slowest or steps / 2))


def lengths(shape: Callable[[int, Rng], Floats], steps: tuple[int, int] = (STEPS, STEPS)) -> Kind:
    def draw(rng: Rng) -> Sample:
        count = int(rng.integers(steps[0], steps[1] + 1))
        return relative(rng.uniform(30.0, 3000.0) * shape(count, rng), "length", rng)

    return draw


def fall(rng: Rng, steps: int, kind: str) -> Floats:
    """What is left of 1 after a fall by 40 to 80 % in the first half."""
    lost, time = rng.uniform(0.4, 0.8), np.arange(steps)
    if kind == "from the start":
        return 1.0 - lost * (1.0 - np.exp(-time / rng.uniform(1.0, 6.0)))
    begin = int(rng.integers(4, steps // 3))
    width = 1 if kind == "step" else int(rng.integers(5, 20))
    level = 1.0 - lost * np.clip((time - begin + 1) / width, 0.0, 1.0)
    if kind == "dip":
        back = begin + int(rng.integers(6, 15))
        level = np.where(time >= back, 1.0, 1.0 - lost * (time >= begin))
    return level


def hockey(rng: Rng) -> Sample:
    """Falls by 0.8 to 2 within 3 to 8 steps, and climbs to above its start."""
    time, low = np.arange(STEPS), int(rng.integers(6, 14))
    depth, climb = rng.uniform(0.8, 2.0), rng.uniform(0.3, 1.5)
    down = np.clip((time - 3) / (low - 3), 0.0, 1.0)
    up = np.where(time > low + 4, 1.0 - np.exp(-(time - low - 4) / 10.0), 0.0)
    return absolute(-depth * down + (depth + climb) * up, "reward", rng)


HEALTHY: Mapping[str, Mapping[str, Kind]] = {
    "length_collapse": {
        "stationary": lengths(lambda n, _: np.ones(n)),
        "drift of 10 %": lengths(lambda n, rng: np.linspace(1.0, rng.choice([0.9, 1.1]), n)),
        "walk of 8 %": lengths(lambda n, rng: wander(n, 0.08, rng)),
        "growth": lengths(lambda n, rng: settling(1.0, rng.uniform(1.2, 3.0), n, rng)),
        "overshoot": lengths(lambda n, _: 1.0 + np.interp(np.arange(n), [0, n / 3, n / 2, n], [0.0, 1.4, 0.8, 0.7])),
        "outliers": lambda rng: outliers(lengths(lambda n, _: np.ones(n))(rng), rng),
        "short run": lengths(lambda n, _: np.ones(n), (10, 20)),
        "long run": lengths(lambda n, _: np.ones(n), (200, 300)),
    },
    "reward_hockey_stick": {
        "stationary": lambda rng: absolute(np.full(STEPS, 0.3), "reward", rng),
        "climb": lambda rng: absolute(settling(-0.5, 0.6, STEPS, rng), "reward", rng),
        "outliers": lambda rng: outliers(absolute(settling(0.2, 0.6, STEPS, rng), "reward", rng), rng),
        "sparse": lambda rng: share(np.full(STEPS, rng.uniform(0.02, 0.1)), "truncation", rng),
        "short run": lambda rng: absolute(np.full(int(rng.integers(10, 21)), 0.3), "reward", rng),
    },
    "kl_blow_up": {
        "growth": lambda rng: relative(settling(0.0, rng.uniform(1.0, 12.0), STEPS, rng), "kl", rng),
        "outliers": lambda rng: outliers(relative(settling(0.0, rng.uniform(1.0, 12.0), STEPS, rng), "kl", rng), rng),
    },
    "entropy_collapse": {
        "stationary": lambda rng: relative(np.full(STEPS, 0.15), "entropy", rng),
        "halves": lambda rng: relative(settling(0.3, rng.uniform(0.12, 0.2), STEPS, rng), "entropy", rng),
    },
    "truncation_runaway": {
        "none": lambda rng: share(np.full(STEPS, 0.01), "truncation", rng),
        "some": lambda rng: share(settling(0.02, rng.uniform(0.05, 0.12), STEPS, rng), "truncation", rng),
    },
    "repetition": {
        "stationary": lambda rng: share(np.full(STEPS, 0.05), "repetition", rng),
        "as the testbed": lambda rng: share(settling(0.03, rng.uniform(0.2, 0.33), STEPS, rng), "repetition", rng),
    },
    "critic_failure": {
        "learns": lambda rng: absolute(settling(-2.4, rng.uniform(0.3, 0.8), STEPS, rng, 4.0), "critic", rng),
        "little use": lambda rng: absolute(
            np.where(np.arange(STEPS) < 4, -1.0, rng.uniform(0.15, 0.25)), "critic", rng
        ),
    },
}
FAULTY: Mapping[str, Mapping[str, Kind]] = {
    "length_collapse": {
        kind: lengths(lambda n, rng, kind=kind: fall(rng, n, kind))  # type: ignore[misc]
        for kind in ("step", "ramp", "from the start")
    }
    | {
        "short run": lengths(lambda n, rng: fall(rng, n, "step"), (20, 30)),
        "long run": lengths(lambda n, rng: fall(rng, n, "ramp"), (200, 300)),
    },
    "reward_hockey_stick": {"fall and climb": hockey},
    "kl_blow_up": {
        "runs away": lambda rng: relative(
            np.minimum(np.exp(np.arange(STEPS) / rng.uniform(3.0, 8.0)), rng.uniform(70.0, 300.0)), "kl", rng
        )
    },
    "entropy_collapse": {"falls to 0": lambda rng: relative(settling(0.3, 0.01, 80, rng), "entropy", rng)},
    "truncation_runaway": {
        "half or more": lambda rng: share(settling(0.02, rng.uniform(0.55, 0.95), STEPS, rng), "truncation", rng)
    },
    "repetition": {"loops": lambda rng: share(settling(0.05, rng.uniform(0.7, 0.95), STEPS, rng), "repetition", rng)},
    "critic_failure": {
        "never learns": lambda rng: absolute(settling(-2.4, rng.uniform(-1.0, -0.4), STEPS, rng, 4.0), "critic", rng),
        "breaks": lambda rng: absolute(
            np.where(np.arange(STEPS) < rng.integers(15, 35), 0.5, rng.uniform(-1.5, -0.5)), "critic", rng
        ),
    },
}
DIPS: Mapping[str, Kind] = {"dip of 6 to 14 steps": lengths(lambda n, rng: fall(rng, n, "dip"))}


def thresholds() -> StabilityConfig:
    """Those of conf/stability/default.yaml."""
    return StabilityConfig.model_validate(yaml.safe_load((ROOT / "conf" / "stability" / "default.yaml").read_text()))


def verdict(detector: str, values: Sequence[float] | Floats, config: StabilityConfig, steps: int) -> Verdict:
    """Of a prefix of a run of so many steps."""
    settings: Any = getattr(config, detector)
    judge: Any = getattr(stability, detector)
    plain = [float(value) for value in values]
    found: Verdict = (
        judge(plain, settings) if detector in ("kl_blow_up", "critic_failure") else judge(plain, settings, steps)
    )
    return found


def online(detector: str, values: Floats, config: StabilityConfig) -> Iterator[tuple[int, Verdict]]:
    """The verdict after each step, from 1; of a long run after every fifth."""
    for end in range(1, len(values) + 1):
        if len(values) <= 100 or end % 5 == 0 or end == len(values):
            yield end, verdict(detector, values[:end], config, len(values))


@dataclass(frozen=True)
class Seen:
    """Of one series: the steps of the first alarm and the first certain verdict, the level at the end, the onset."""

    alarm: int | None
    certain: int | None
    final: str
    onset: int | None


def watch(detector: str, sample: Sample, config: StabilityConfig) -> Seen:
    """Looks at a series after each step."""
    levels = [(end, found.level) for end, found in online(detector, sample.values, config)]
    alarm = next((end for end, level in levels if level != "none"), None)
    certain = next((end for end, level in levels if level == "certain"), None)
    return Seen(alarm, certain, levels[-1][1], onset(detector, sample.true, config))


def onset(detector: str, true: Floats, config: StabilityConfig) -> int | None:
    """The first step, from 1, at which what is behind the noise is beyond the `suspected` threshold."""
    settings: Any = getattr(config, detector)
    if detector in ("length_collapse", "entropy_collapse"):
        beyond = 1.0 - true / true[0] >= settings.suspected
    elif detector in ("truncation_runaway", "repetition"):
        beyond = true - true[0] >= settings.suspected
    elif detector == "reward_hockey_stick":
        beyond = true[0] - true >= settings.suspected * 0.15
    elif detector == "kl_blow_up":
        beyond = true >= settings.suspected
    else:
        beyond = (true <= settings.suspected) & (np.arange(len(true)) >= settings.grace)
    at = np.flatnonzero(beyond)
    return int(at[0]) + 1 if len(at) else None


def draws(kind: Kind, count: int, config: StabilityConfig, detector: str, seed: int) -> list[Seen]:
    """Many series of a kind."""
    rng = np.random.default_rng([seed, list(HEALTHY).index(detector)])
    return [watch(detector, kind(rng), config) for _ in range(count)]


def healthy(seen: Sequence[Seen]) -> dict[str, float]:
    """Of series without a fault, or with one that passes."""
    count = len(seen)
    return {
        "alarms": sum(s.alarm is not None for s in seen) / count,
        "alarms at the end": sum(s.final != "none" for s in seen) / count,
        "certain": sum(s.certain is not None for s in seen) / count,
        "certain at the end": sum(s.final == "certain" for s in seen) / count,
    }


def faulty(seen: Sequence[Seen]) -> dict[str, float]:
    """Of series with a fault."""
    late = [s.alarm - s.onset for s in seen if s.alarm is not None and s.onset is not None]
    sure = [s.certain - s.onset for s in seen if s.certain is not None and s.onset is not None]
    return {
        "missed": sum(s.alarm is None for s in seen) / len(seen),
        "certain": sum(s.certain is not None for s in seen) / len(seen),
        "median delay": median(late),
        "90 % of delays": quantiles(late, n=10)[-1],
        "median delay of certain": median(sure),
    }


def table(
    title: str,
    kinds: Mapping[str, Mapping[str, Kind]],
    rates: Callable[[Sequence[Seen]], dict[str, float]],
    count: int,
) -> dict[str, dict[str, dict[str, float]]]:
    """Prints a row for each kind of series, and gives the rows."""
    config = thresholds()
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for detector, drawn in kinds.items():
        rows[detector] = {}
        for seed, (name, kind) in enumerate(drawn.items()):
            found = rows[detector][name] = rates(draws(kind, count, config, detector, seed))
            shown = (f"{k} {v:.1f}" if "delay" in k else f"{k} {v:.1%}" for k, v in found.items())
            print(f"{title:8} {detector:20} {name:20} {'  '.join(shown)}", flush=True)
    return rows


def main() -> None:
    """Prints the tables, and the totals that the aims are about."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=500, help="of each kind")
    count = parser.parse_args().series
    well = table("healthy", HEALTHY, healthy, count)
    ill = table("faulty", FAULTY, faulty, count)
    passing = table("passing", {"length_collapse": DIPS}, healthy, count)
    alarms = [rates["alarms"] for kinds in well.values() for rates in kinds.values()]
    missed = [rates["missed"] for rates in ill["length_collapse"].values()]
    totals = {
        "false alarms, mean of all kinds": float(np.mean(alarms)),
        "false alarms, worst kind": max(alarms),
        "falls of 40 % or more found": 1.0 - float(np.mean(missed)),
        "median delay, mean of kinds": float(np.mean([r["median delay"] for r in ill["length_collapse"].values()])),
    }
    for name, value in totals.items():
        print(f"{name}: {value:.3f}")
    print(json.dumps({"series": count, "healthy": well, "faulty": ill, "passing": passing, "totals": totals}))


if __name__ == "__main__":
    main()
