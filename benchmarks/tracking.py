"""What tracking costs a trial, and how MLflow's interface does with a study of many trials.

Both sides report a trial's parameters and 40 metrics a step to a sqlite store of their own. Ours writes its journal,
sends from another thread, adds the environment and the configuration as files, and is timed until MLflow has
everything; "held" is how long a step of training waits for it. The other side is what a training script does:
`log_metrics` at each step. Then studies of 3 and of 200 trials are opened at their view in Chromium, on MLflow's own
server, and timed from the address until the scatter plot has every trial that the interface loads (100 at most) and
the parallel coordinates stand; so is `read_study`, with which `report` begins.

    python benchmarks/tracking.py [--steps 50] [--trials 200]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from common import ROOT, alternating, report

sys.path.insert(0, str(ROOT))

from bai_sweep.config import TrialConfig
from bai_sweep.study import read_study
from bai_sweep.tracking import flatten, newest_study_url, open_client, open_tracker
from tests.browser import CHROMIUM, chromium
from tests.replay import interface, replay, tracked_config
from tests.synthetic import realistic

METRICS = 40
LOADED = 100  # runs that MLflow's page of an experiment asks for at first
DRAWN = (
    "document.querySelectorAll('.scatterlayer .point').length >= {points}"
    " && document.querySelector('.parcoords') !== null"
)


def step_metrics(step: int) -> dict[str, float]:
    """What one step of PPO reports, in number."""
    return {f"group/metric_{n}": step + n / METRICS for n in range(METRICS)}


def through_journal(config: TrialConfig, home: Path, steps: int, held: list[float]) -> None:
    """One trial by our tracker, until MLflow has it."""
    tracker = open_tracker(config.tracking)
    with tracker.trial(0, "trial", None, config=config, folder=home) as run:
        for step in range(1, steps + 1):
            begun = time.perf_counter()
            run.log_metrics(step_metrics(step), step)
            held.append(time.perf_counter() - begun)


def directly(config: TrialConfig, steps: int) -> None:
    """One trial by MLflow's own calls."""
    import mlflow

    mlflow.set_tracking_uri(config.tracking.uri)
    with mlflow.start_run(run_name="trial"):
        values = list(flatten(config).items())
        for first in range(0, len(values), 100):
            mlflow.log_params(dict(values[first : first + 100]))
        for step in range(1, steps + 1):
            mlflow.log_metrics(step_metrics(step), step)


def opened(home: Path, trials: int) -> dict[str, float]:
    """Seconds of a study of this many trials: to draw its view, twice, and to read it back."""
    home.mkdir()
    config = tracked_config(home)
    points = [n / max(trials - 1, 1) for n in range(trials)]
    results = [replace(realistic(n, alpha, skill=0.8 - 0.3 * alpha), seed=0) for n, alpha in enumerate(points)]
    handle = replay(config, home / "results" / "default", results, {"alpha": "grid"})
    taken = {}
    with interface(config, home / "server.log") as port, chromium(home / "profile") as page:
        address = newest_study_url(config.tracking, port) or ""
        for name in ("view, first time", "view, again"):
            begun = time.perf_counter()
            page.open(address)
            page.wait(DRAWN.format(points=min(trials, LOADED)), 300)
            taken[name] = round(time.perf_counter() - begun, 2)
    begun = time.perf_counter()
    read_study(handle.folder)
    return {**taken, "read_study": round(time.perf_counter() - begun, 2)}


def main() -> None:
    """Prints the one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--trials", type=int, default=200)
    options = parser.parse_args()
    results: dict[str, Any] = {}
    held: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        mine, theirs = root / "ours", root / "peer"
        for folder in (mine, theirs):
            folder.mkdir()
            open_client(tracked_config(folder).tracking.uri)  # makes the tables, which is not what is timed
        homes = iter(range(100))
        ours, peer = alternating(
            lambda: through_journal(tracked_config(mine), mine / str(next(homes)), options.steps, held),
            lambda: directly(tracked_config(theirs), options.steps),
            rounds=5,
        )
        results["held a step, ms"] = round(1000 * median(held), 3)
        results["MLflow's own calls, all of them, ms a step"] = round(1000 * peer / options.steps, 1)
        if CHROMIUM:
            for trials in (3, options.trials):
                results[f"{trials} trials, s"] = opened(root / f"study-{trials}", trials)
    print(json.dumps(results), file=sys.stderr)
    report("tracking", ours=ours, peer=peer, floor=None, versions={"mlflow": version("mlflow")}, results=results)


if __name__ == "__main__":
    main()
