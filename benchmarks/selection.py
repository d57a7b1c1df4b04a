"""Does selection know what it says it knows? Invented studies whose truth is known, put through `choose` itself.

A study has 2 to 7 points with 1 to 5 seeds each, and two benchmarks of 150 and 250 items. An answer is right with
probability sigmoid(skill of the point + effect of the seed - difficulty of the item + what this point and this seed
have with this item); difficulties are shared, so that scores are paired. A point's truth is the mean over all items
and seeds there could be. Skills are all alike ("nil"), close (differences as large as their errors), or wide. Seeds
have a standard deviation of 0, 1 or 3 points.

Reported: how often 95 % intervals hold the truth (of a point's objective; of all differences to the leader at once; of
each of these), how often P(best) is right, how often a winner called clear is the best or as good within tie_points,
and of studies told to run more seeds, how many were clear after that. Also the model over alpha: how often its 95 %
interval holds the truth at the place it proposes, and whether that is better than the recommended point.

    python benchmarks/selection.py [--studies 3000] [--seed 0]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from common import ROOT, machine
from numpy.typing import NDArray

from bai_sweep.config import SelectionConfig
from bai_sweep.records import Choice, TrialResult
from bai_sweep.selection import choose
from bai_sweep.selection._candidates import candidates
from bai_sweep.selection._measure import measure
from bai_sweep.selection._objective import objective_of

sys.path.insert(0, str(ROOT))
from tests.synthetic import RULE, score, trial

Floats = NDArray[np.float64]
ITEMS = {"knowledge": 150, "arithmetic": 250}
DIFFICULTY, OWN, REPEATED = 1.2, 0.5, 0.3  # standard deviations: items; a point's own with an item; a seed's
SLOPE = 17.0  # points that a unit of skill is worth where half of the answers are right: 100 * E[p (1 - p)]
SEED_NOISE = (0.0, 1.0, 3.0)  # points
SPREAD = {"nil": 0.0, "close": 2.0, "wide": 6.0}  # standard deviation of the points' truth, points
RULE_USED: SelectionConfig = RULE.model_copy(update={"bootstrap": 1000, "min_seeds": 1, "tie_points": 0.5})
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(40)


@dataclass
class World:
    """A study's truth, from which trials can be had.

    Args:
        skills: of each point.
        noise: standard deviation of a seed's effect, in units of skill.
        keys: each point's swept parameters.
        rng: of everything.
    """

    skills: Floats
    noise: float
    keys: list[dict[str, Any]]
    rng: np.random.Generator
    items: dict[str, tuple[Floats, Floats]] = field(init=False)

    def __post_init__(self) -> None:
        shape = len(self.skills)
        self.items = {
            name: (self.rng.normal(0, DIFFICULTY, n), self.rng.normal(0, OWN, (shape, n))) for name, n in ITEMS.items()
        }

    @property
    def truth(self) -> Floats:
        """Each point's mean score over all items and seeds."""
        spread = np.sqrt(DIFFICULTY**2 + OWN**2 + REPEATED**2 + self.noise**2)
        weights = WEIGHTS / WEIGHTS.sum()
        right: Floats = 100.0 * (sigmoid(self.skills[:, None] + spread * NODES) @ weights)
        return right

    def trials(self, points: Sequence[int], seeds: Sequence[int], first: int = 0) -> list[TrialResult]:
        """Trials of these points with each of these seeds."""
        made = []
        for point in points:
            for seed in seeds:
                skill = self.skills[point] + self.rng.normal(0, self.noise)
                scores = []
                for name, (difficulty, own) in self.items.items():
                    with_item = self.rng.normal(0, REPEATED, len(difficulty))
                    right = self.rng.random(len(difficulty)) < sigmoid(skill - difficulty + own[point] + with_item)
                    scores.append(score(name, 100.0 * right))
                params = {**self.keys[point], "seed": seed}
                made.append(replace(trial(first + len(made), params, scores=scores), seed=seed))
        return made


def sigmoid(x: Floats) -> Floats:
    """Of skills to probabilities."""
    right: Floats = 1.0 / (1.0 + np.exp(-x))
    return right


class Tally:
    """Shares by group: how often something was so, of how many times."""

    def __init__(self) -> None:
        self.counts: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])

    def add(self, measure: str, group: str, so: bool | np.bool_, times: int = 1) -> None:
        """One case."""
        count = self.counts[measure, group]
        count[0] += bool(so) * times
        count[1] += times

    def rows(self) -> list[dict[str, Any]]:
        """Measure, group, share in per cent, its standard error, cases."""
        found = []
        for (what, group), (so, cases) in sorted(self.counts.items()):
            share = so / cases
            error = 100 * np.sqrt(share * (1 - share) / cases)
            found.append({"measure": what, "group": group, "percent": round(100 * share, 1)})
            found[-1] |= {"error": round(float(error), 1), "cases": cases}
        return found


def one_study(rng: np.random.Generator, tally: Tally) -> None:
    """A study of a random kind, counted by its kind."""
    points, seeds = int(rng.integers(2, 8)), int(rng.integers(1, 6))
    kind, noise = str(rng.choice(list(SPREAD))), float(rng.choice(SEED_NOISE))
    skills = 0.5 + rng.normal(0, SPREAD[kind] / SLOPE, points)
    world = World(skills, noise / SLOPE, [{"actor": f"p{k}"} for k in range(points)], rng)
    results, drawn = world.trials(range(points), range(seeds)), int(rng.integers(2**31))
    choice = choose(results, RULE_USED, drawn)
    truth = {f"actor=p{k}": value for k, value in enumerate(world.truth)}
    if seeds == 1:
        groups = [f"1 seed, noise {noise:g}"]
    else:
        groups = ["all", f"{seeds} seeds", f"{points} points", kind, f"noise {noise:g}"]
    # of two points that were not picked by their scores; the rest goes through `choose` alone
    mean = objective_of(RULE_USED, ITEMS)
    _, (low, high) = measure(candidates(results), mean, RULE_USED.bootstrap, drawn).difference(0, 1)
    for group in groups:
        _count(choice, truth, group, tally)
        tally.add("difference of two given points", group, low <= truth["actor=p0"] - truth["actor=p1"] <= high)
    if seeds > 1 and kind != "nil":
        _calibration(choice, truth, tally)
    if seeds in (2, 3) and kind == "wide":
        _follow(world, choice, seeds, tally)


def _count(choice: Choice, truth: dict[str, float], group: str, tally: Tally) -> None:
    best = max(truth.values())
    leader = max(choice.standings, key=lambda s: s.value)
    for standing in choice.standings:
        tally.add("interval of an objective", group, standing.low <= truth[standing.label] <= standing.high)
    behind = [
        s.behind_low <= truth[leader.label] - truth[s.label] <= s.behind_high for s in choice.standings if s != leader
    ]
    tally.add("all differences to the leader", group, all(behind))
    for holds in behind:
        tally.add("a difference to the leader", group, holds)
    picked = truth[choice.standings[0].label]
    tally.add("said to be clear", group, choice.clear)
    if choice.clear:
        tally.add("clear: truly the best", group, picked >= best - 1e-9)
        tally.add("clear: best or within tie_points", group, picked >= best - RULE_USED.tie_points)
    if choice.equal:
        names = {s.number: s.label for s in choice.standings}
        for number in choice.equal:
            close = abs(truth[names[number]] - picked) <= RULE_USED.tie_points
            tally.add("said to be equal: within tie_points", group, close)


def _calibration(choice: Choice, truth: dict[str, float], tally: Tally) -> None:
    best = max(truth.values())
    for standing in choice.standings:
        claimed = standing.best_probability
        low = next(edge for edge in (0.95, 0.8, 0.6, 0.4, 0.2, 0.05, 0.0) if claimed >= edge)
        group = f"P(best) from {low:g}"
        tally.add("truly the best", group, truth[standing.label] >= best - 1e-9)
        tally.add("truly the best or within tie_points", group, truth[standing.label] >= best - RULE_USED.tie_points)
        tally.counts["P(best) as said", group][0] += round(1000 * claimed)
        tally.counts["P(best) as said", group][1] += 1000


def _follow(world: World, choice: Choice, seeds: int, tally: Tally) -> None:
    """Runs what was asked for and looks again."""
    if not choice.next_trials or not choice.evidence.startswith("To tell"):
        return
    asked = {o.partition("=")[0]: o.partition("=")[2].split(",") for o in choice.next_trials[0].overrides}
    points = [int(name[1:]) for name in asked["actor"]]
    again = world.trials(points, range(seeds + len(asked["seed"])))
    later = choose(again, RULE_USED, 0)
    decided = later.clear or ("either is fine" in later.evidence and "may be nil" not in later.evidence)
    tally.add("decided by the trials asked for", "all", decided)


def one_curve(rng: np.random.Generator, tally: Tally) -> None:
    """A study over alpha whose truth is a smooth curve with its top anywhere, and the model's proposal."""
    points, seeds = int(rng.integers(4, 8)), int(rng.integers(1, 5))
    alphas = np.round(np.linspace(0.1, 0.9, points), 3)
    top, width, height = rng.uniform(0, 1), rng.uniform(0.2, 0.6), rng.uniform(0, 1.2)

    def skill(alpha: Floats) -> Floats:
        curve: Floats = 0.5 + height * np.exp(-(((alpha - top) / width) ** 2) / 2)
        return curve

    world = World(skill(alphas), rng.choice(SEED_NOISE) / SLOPE, [{"alpha": float(a)} for a in alphas], rng)
    choice = choose(world.trials(range(points), range(seeds)), RULE_USED, int(rng.integers(2**31)))
    group = "1 seed" if seeds == 1 else "2 to 4 seeds"
    tally.add("model proposes", group, choice.proposal is not None)
    if choice.proposal is None:
        return
    proposal = choice.proposal
    there = replace_skills(world, skill(np.array([proposal.value]))).truth[0]
    here = dict(zip(map(float, alphas), world.truth, strict=True))[_alpha(choice)]
    tally.add("model's interval holds the truth", group, proposal.low <= there <= proposal.high)
    tally.add("model's place is truly better", group, there > here)
    tally.counts["model's place is better, as said", group][0] += round(1000 * proposal.gain_probability)
    tally.counts["model's place is better, as said", group][1] += 1000


def replace_skills(world: World, skills: Floats) -> World:
    """The same seeds' noise at other points."""
    return World(skills, world.noise, [{}] * len(skills), np.random.default_rng(0))


def _alpha(choice: Choice) -> float:
    return float(choice.standings[0].label.partition("=")[2])


def run(studies: int, seed: int, one: Callable[[np.random.Generator, Tally], None]) -> Tally:
    """Studies one after the other, each from a seed of its own."""
    tally = Tally()
    for number in range(studies):
        one(np.random.default_rng([seed, number]), tally)
        if sys.stderr.isatty():
            print(f"\r{number + 1} of {studies}", end="", file=sys.stderr)
    return tally


def main() -> None:
    """Prints a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=3000)
    parser.add_argument("--curves", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows = run(options.studies, options.seed, one_study).rows() + run(options.curves, options.seed, one_curve).rows()
    for row in rows:
        print(f"{row['measure']:<38} {row['group']:<18} {row['percent']:>6} ± {row['error']:<4} {row['cases']:>7}")
    print(json.dumps({"name": "selection", "machine": machine(), "studies": options.studies, "rows": rows}))


if __name__ == "__main__":
    main()
