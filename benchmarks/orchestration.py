"""What a study costs besides its trials: seconds for each trial that does nothing, and until the first one begins.

A study of no-op trials (Hydra job, folder, configuration files, queue, lease, random sampler, storage; no tracker)
runs with one worker in this process and with two worker processes, on the journal file and on a PostgreSQL of its
own where one is installed. Seconds a trial are those from the first trial to the last, divided; of two processes, of
both at work. With `--long` the first and the last hundred trials of a long study are compared. The other side is
what a sweeper of Hydra's kind does: `load_sweep_config` and `run_job` for each trial, told to Optuna's journal, in
one process. "start" is from the shell to a real study's first trial.

    python benchmarks/orchestration.py [--trials 100] [--long 1000]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from common import ROOT, report

sys.path.insert(0, str(ROOT))

APP = """
import sys, time
from pathlib import Path
import hydra
from bai_sweep.search import current_trial
from bai_sweep.sources import packaged_dir

@hydra.main(version_base="1.3", config_path=str(packaged_dir("conf")), config_name="config")
def main(cfg):
    with Path("times").open("a") as file:
        file.write(f"{current_trial().number} {time.time()}\\n")
    return float(cfg.alpha)

if __name__ == "__main__":
    main()
"""
PEER = """
import sys, time
from pathlib import Path
import hydra, optuna
from hydra.core.plugins import Plugins
from hydra.core.utils import run_job
from hydra.plugins.sweeper import Sweeper
from bai_sweep.sources import packaged_dir

class Plain(Sweeper):
    def setup(self, *, hydra_context, task_function, config):
        self.context, self.task, self.config = hydra_context, task_function, config

    def sweep(self, arguments):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend("peer.log"))
        study = optuna.create_study(storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))
        for number in range(self.config.rl.steps):
            trial = study.ask()
            point = trial.suggest_float("alpha", 0, 1)
            loader = self.context.config_loader
            config = loader.load_sweep_config(self.config, [f"alpha={point}"])
            config.hydra.job.id = config.hydra.job.num = number
            done = run_job(hydra_context=self.context, task_function=self.task, config=config,
                           job_dir_key="hydra.sweep.dir", job_subdir_key="hydra.sweep.subdir")
            study.tell(trial, done.return_value)

def plain(**parts):
    sweeper = Plain()
    sweeper.setup(**parts)
    return sweeper

Plugins.instance().instantiate_sweeper = plain

@hydra.main(version_base="1.3", config_path=str(packaged_dir("conf")), config_name="config")
def main(cfg):
    with Path("times").open("a") as file:
        file.write(f"0 {time.time()}\\n")
    return float(cfg.alpha)

if __name__ == "__main__":
    main()
"""


def run(folder: Path, code: str, *arguments: str) -> list[float]:
    """When each trial ran, in order; `folder` is made."""
    folder.mkdir()
    (folder / "app.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "app.py", "-m", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return sorted(float(line.split()[1]) for line in (folder / "times").read_text().splitlines())


def ours(folder: Path, trials: int, workers: int, *more: str) -> list[float]:
    """Our study of no-op trials."""
    return run(
        folder, APP, "alpha=interval(0,1)", f"hydra.sweeper.n_trials={trials}", "hydra/sweeper/sampler=random",
        "hydra.sweeper.study_functions=null", f"workers={workers}", *more,
    )  # fmt: skip


def each(times: list[float]) -> float:
    """Seconds a trial, without what comes before the first."""
    return (times[-1] - times[0]) / (len(times) - 1)


def start_seconds(folder: Path) -> float:
    """From the shell to the first line of the log of a real study's first trial."""
    folder.mkdir()
    settings = ["rl.steps=1", "evaluation=none", "tracking=none", "hydra.sweeper.objective=stability/length_ratio"]
    command = [sys.executable, "-m", "bai_sweep", "-m", "alpha=0.1,0.5", *settings]
    begun = time.perf_counter()
    study = subprocess.Popen(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    while not (folder / "results/default/trials/0/progress.json").exists():
        time.sleep(0.01)
    took = time.perf_counter() - begun
    study.kill()
    study.wait()
    return took


def main() -> None:
    """Prints the one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--long", type=int, default=1000)
    options = parser.parse_args()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        root, server = Path(name), None
        peer = each(run(root / "peer", PEER, f"rl.steps={options.trials}"))
        alone = each(ours(root / "journal-1", options.trials, 1))
        results["seconds a trial"] = {
            "journal, 1 worker": round(alone, 4),
            "journal, 2 workers": round(each(ours(root / "journal-2", options.trials, 2)), 4),
            "Hydra's own composing and saving, 1 process": round(peer, 4),
        }
        from tests.integration.search import postgresql

        if postgresql.programs() is not None:
            server = postgresql.Server()
            storage = f"hydra.sweeper.storage='{server.url}'"
            results["seconds a trial"] |= {
                "PostgreSQL, 1 worker": round(each(ours(root / "pg-1", options.trials, 1, storage, "study=one")), 4),
                "PostgreSQL, 2 workers": round(each(ours(root / "pg-2", options.trials, 2, storage, "study=two")), 4),
            }
            server.close()
        if options.long:
            times = ours(root / "long", options.long, 1)
            gaps = [b - a for a, b in itertools.pairwise(times)]
            results[f"{options.long} trials, median seconds between two"] = {
                "first hundred": round(median(gaps[:100]), 4),
                "last hundred": round(median(gaps[-100:]), 4),
            }
        results["start, s"] = round(start_seconds(root / "start"), 2)
    print(json.dumps(results), file=sys.stderr)
    report("orchestration", ours=alone, peer=peer, floor=None, versions={}, results=results)


if __name__ == "__main__":
    main()
