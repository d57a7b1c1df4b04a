"""PPO steps until a search's incumbent is truly one of the best ratios, against the exhaustive grid.

Surfaces (what a trial at alpha gives): "paper" is the paper's table 2 (mean of MMLU-Pro, MMLU and ArenaHard), linear
between its ratios, where the smallest is best; "balanced" is the same with a length collapse below alpha 0.35, so
that the best ratio that may be taken lies in the middle, between the paper's; "testbed" is what is recorded in
data/surface.json (`--record results/<study>` makes it of a study over alpha and seed), where there is one. A score
has the noise of a seed: 0.5 points, or what the recording shows. A trial that collapses loses length from step 5 on.

Ours is a search with the paper's ratios first, a constraint on the collapse, the collapse rule (our own monitor on
invented telemetry) and samplers that see the study as ours do: GP, TPE, and random draws beside them. The grid is
all of 0, 0.1, ..., 1 with three seeds. A search has arrived when the point it would recommend, the feasible one with
the best observed score, is truly within two standard errors of the grid's own answer (2 x noise / sqrt(3)) of the
best one, and stays there.

    python benchmarks/search_efficiency.py [--repeats 50] [--record results/surface]
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, quantiles, stdev
from typing import Any

import optuna
from common import ROOT, report
from hydra import compose, initialize_config_dir
from optuna.trial import TrialState

from bai_sweep.config import TrialConfig, parse
from bai_sweep.records import StepTelemetry, TrialResult
from bai_sweep.search._monitor import TrialMonitor
from bai_sweep.search._sampler import make_sampler
from bai_sweep.search._settings import SearchSettings
from bai_sweep.search._view import PointView
from bai_sweep.signals import TrialPruned

sys.path.insert(0, str(ROOT))
from tests.search_settings import search_settings

STEPS, SEEDS, POINTS = 50, 3, 30
ALPHAS = [index / 10 for index in range(11)]
PAPER = {0.1: (70.2, 82.7, 35.9), 0.2: (69.7, 81.3, 33.3), 0.5: (70.7, 80.9, 25.2), 0.7: (68.6, 81.8, 16.0), 0.9: (68.1, 81.3, 11.5)}  # fmt: skip  # noqa: E501
SAMPLERS = {
    "gp": {"_target_": "optuna.samplers.GPSampler", "seed": 0, "deterministic_objective": False},
    "tpe": {"_target_": "optuna.samplers.TPESampler", "seed": 0, "multivariate": True, "constant_liar": True},
    "random": {"_target_": "optuna.samplers.RandomSampler", "seed": 0},
}
RECORDED = Path(__file__).resolve().parent / "data" / "surface.json"


@dataclass(frozen=True)
class Surface:
    """True score by alpha, the noise of one seed, and where trials collapse."""

    score: Callable[[float], float]
    noise: float
    collapses: Callable[[float], bool]

    @property
    def best(self) -> float:
        """The best true score of a ratio that does not collapse."""
        return max(self.score(a / 200) for a in range(201) if not self.collapses(a / 200))

    def is_good(self, alpha: float) -> bool:
        """Within two standard errors of the grid's answer of the best."""
        return not self.collapses(alpha) and self.score(alpha) >= self.best - 2 * self.noise / math.sqrt(SEEDS)


def interpolated(points: dict[float, float]) -> Callable[[float], float]:
    """Linear between points, constant outside."""
    known = sorted(points)

    def at(alpha: float) -> float:
        below = max((a for a in known if a <= alpha), default=known[0])
        above = min((a for a in known if a >= alpha), default=known[-1])
        if below == above:
            return points[below]
        share = (alpha - below) / (above - below)
        return (1 - share) * points[below] + share * points[above]

    return at


def surfaces() -> dict[str, Surface]:
    """Those to search."""
    paper = interpolated({alpha: mean(values) for alpha, values in PAPER.items()})
    found = {
        "paper": Surface(paper, 0.5, lambda _alpha: False),
        "balanced": Surface(paper, 0.5, lambda alpha: alpha < 0.35),
    }
    if RECORDED.is_file():
        rows = json.loads(RECORDED.read_text())["trials"]
        by_alpha: dict[float, list[float]] = {}
        for row in rows:
            by_alpha.setdefault(row["alpha"], []).append(row["overall"])
        repeated = [values for values in by_alpha.values() if len(values) > 1]
        noise = math.sqrt(mean(stdev(values) ** 2 for values in repeated)) if repeated else 1.0
        collapsed = {a for a in by_alpha if all(r["collapsed"] for r in rows if r["alpha"] == a)}
        nearest = lambda alpha: min(by_alpha, key=lambda a: abs(a - alpha))  # noqa: E731
        found["testbed"] = Surface(
            interpolated({a: mean(values) for a, values in by_alpha.items()}), noise, lambda a: nearest(a) in collapsed
        )
    return found


def telemetry(collapses: bool, rng: random.Random) -> list[StepTelemetry]:
    """A run whose mean length falls by 60 % from step 5 on, or grows a little."""
    rows = []
    for step in range(1, STEPS + 1):
        length = 80 + 0.2 * step if not collapses or step < 5 else max(80 - 12 * (step - 4), 32)
        reward = 0.2 + 0.6 * (1 - math.exp(-step / 15))
        metrics = {
            "completions/mean_length": length + rng.gauss(0, 2),
            "objective/scores": reward + rng.gauss(0, 0.08),
            "objective/kl": 2.0,
        }
        rows.append(StepTelemetry(step, metrics))
    return rows


def search(surface: Surface, sampler: dict[str, Any], config: TrialConfig, settings: SearchSettings, seed: int) -> int:
    """PPO steps spent until the incumbent is good and stays so."""
    rng = random.Random(seed)
    study = optuna.create_study(direction="maximize")
    for alpha in (0.1, 0.5, 0.9):
        study.enqueue_trial({"alpha": alpha})
    spent, history = 0, []
    for number in range(POINTS):
        view = PointView(study, 1)
        view.sampler = make_sampler({**sampler, "seed": seed}, number)
        trial = view.ask()
        alpha = trial.suggest_float("alpha", 0, 1)
        collapses = surface.collapses(alpha)
        monitor = TrialMonitor(
            study, trial._trial_id, settings=settings, pruner=None, config=lambda: config, stop_asked=lambda: False
        )
        run = telemetry(collapses, rng)
        ended = STEPS
        try:
            for end in range(1, STEPS + 1):
                monitor.step(run[:end])
        except TrialPruned:
            ended = end
        spent += ended
        trial.set_constraint("collapse", 0.6 - 0.25 if collapses else -0.2)
        if ended < STEPS:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, surface.score(alpha) + rng.gauss(0, surface.noise))
        feasible = [t for t in study.trials if t.state == TrialState.COMPLETE and t.constraints["collapse"] <= 0]
        incumbent = max(feasible, key=lambda t: t.value, default=None)
        history.append((spent, incumbent is not None and surface.is_good(incumbent.params["alpha"])))
    last_bad = max((k for k, (_, good) in enumerate(history) if not good), default=-1)
    return history[last_bad + 1][0] if last_bad + 1 < len(history) else POINTS * STEPS * 10


def record(study: Path) -> None:
    """Keeps what search_efficiency needs of a study over alpha and seed."""
    rows = []
    for path in sorted(study.glob("trials/*/result.json")):
        result = TrialResult.load(path.parent)
        verdict = next(v for v in result.diagnosis.verdicts if v.detector == "length_collapse")
        series = {
            name: [round(t.metrics[name], 4) for t in result.telemetry]
            for name in ("objective/scores", "completions/mean_length", "objective/kl")
        }
        row = {"alpha": result.params["alpha"], "seed": result.params["seed"], "overall": result.report.overall}
        scores = {score.benchmark: round(score.value, 3) for score in result.report.scores}
        rows.append({**row, "collapsed": verdict.level == "certain", "scores": scores, "telemetry": series})
    RECORDED.parent.mkdir(exist_ok=True)
    text = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    RECORDED.write_text('{"trials":[\n' + text + "\n]}\n")


def main() -> None:
    """Prints the one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--record", type=Path)
    options = parser.parse_args()
    if options.record:
        record(options.record)
        return
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = parse(compose("config", [f"rl.steps={STEPS}"]))
    settings = search_settings(collapse={"detectors": ["length_collapse"], "patience": 3})
    grid = len(ALPHAS) * SEEDS * STEPS
    results: dict[str, Any] = {"grid, steps": grid}
    shares = {}
    for name, surface in surfaces().items():
        for sampler, options_of in SAMPLERS.items():
            steps = [search(surface, options_of, config, settings, seed) for seed in range(options.repeats)]
            shares[name, sampler] = median(steps) / grid
            results[f"{name}, {sampler}"] = {
                "median share of the grid's steps": round(median(steps) / grid, 3),
                "upper quartile": round(quantiles(steps, n=4)[2] / grid, 3),
                "never arrived": sum(s > POINTS * STEPS for s in steps) / len(steps),
            }
            print(name, sampler, results[f"{name}, {sampler}"], file=sys.stderr)
    worst = max(share for (_, sampler), share in shares.items() if sampler == "tpe")  # conf's default
    report("search_efficiency", ours=worst * grid, peer=grid, floor=None, versions={}, results=results)


if __name__ == "__main__":
    main()
