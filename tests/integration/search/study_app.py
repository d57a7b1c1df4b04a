"""A Hydra application with our configuration, our sweeper and a trial that takes no time.

Files in the working directory steer it: `hold-<number>` keeps a trial waiting while it exists (with a
`stuck-<number>` beside it, without ever reaching a safe point), `die-<number>` kills the trial's process on the first
attempt, with a `result-<number>` beside it after the result was written.
`nap-<number>` holds the seconds that it takes. With `leave-results` trials
leave a result.json. `trace.txt` tells what happened.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

from bai_sweep.command import run_command
from bai_sweep.search import current_trial
from bai_sweep.sources import packaged_dir


@hydra.main(version_base="1.3", config_path=str(packaged_dir("conf")), config_name="config")
def main(cfg: DictConfig) -> float:
    trial = current_trial()
    assert trial is not None
    note(f"start {trial.number} {os.getpid()} {os.environ['OMP_NUM_THREADS']}")
    if Path(f"die-{trial.number}").exists() and trial.attempt == 1:
        if Path(f"result-{trial.number}").exists():
            (trial.folder / "result.json").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    while Path(f"hold-{trial.number}").exists():
        if not Path(f"stuck-{trial.number}").exists():
            trial.monitor.safe_point()
        time.sleep(0.02)
    if (nap := Path(f"nap-{trial.number}")).exists():
        time.sleep(float(nap.read_text()))
    if Path("leave-results").exists():
        (trial.folder / "result.json").write_text(json.dumps({"of": trial.number}))
    note(f"end {trial.number} {os.getpid()} alpha={cfg.alpha}")
    return float(cfg.alpha)


class Handle:
    """The study's record."""

    parent_run_id = None
    worker_overrides = ()

    def display(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def interrupted(self) -> None:
        note("interrupted")


def check_study(_config: object) -> None:
    """Nothing outside the configuration is needed."""


def open_study(_config: object, **_: object) -> Handle:
    return Handle()


def conclude(_handle: Handle, **_: object) -> None:
    note("concluded")


def note(line: str) -> None:
    with Path("trace.txt").open("a", encoding="utf-8") as file:
        file.write(line + "\n")


if __name__ == "__main__":
    if sys.argv[1] in ("status", "stop", "add", "worker"):
        run_command(sys.argv[1], sys.argv[2:], hydra_main=main)
    else:
        sys.argv.append("hydra.sweeper.study_functions=study_app")
        main()
