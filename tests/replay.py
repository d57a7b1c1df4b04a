"""A finished study in a real MLflow store, made of invented results: all that tracks it is what a real study uses."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from hydra import compose, initialize_config_dir

from bai_sweep.config import TrialConfig, parse
from bai_sweep.records import TrialResult
from bai_sweep.sources import packaged_dir
from bai_sweep.study import StudyHandle, conclude, open_study
from bai_sweep.tracking import open_tracker, ui_command
from bai_sweep.trial import keep, run_name


def tracked_config(home: Path, *overrides: str) -> TrialConfig:
    """The default configuration on a store of its own below `home`."""
    store = [f"tracking.uri=sqlite:///{home}/mlflow.db", f"tracking.artifacts={home}/mlartifacts"]
    with initialize_config_dir(str(packaged_dir("conf")), version_base="1.3"):
        return parse(compose("config", overrides=[*store, *overrides]))


@contextmanager
def interface(config: TrialConfig, log: Path, patience: float = 120.0) -> Iterator[int]:
    """MLflow's own server on the store of a configuration; gives its port once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with log.open("wb") as file:
        command = ui_command(config.tracking, port)
        server = subprocess.Popen(command, stdout=file, stderr=file, env=env, start_new_session=True)
    deadline = time.monotonic() + patience
    try:
        while not _answers(port):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "MLflow's server did not start"
            time.sleep(0.2)
        yield port
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def _answers(port: int) -> bool:
    try:
        urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
    except (URLError, OSError):
        return False
    return True


def replay(config: TrialConfig, folder: Path, results: Sequence[TrialResult], space: dict[str, str]) -> StudyHandle:
    """Opens a study, logs each result as its trial would have, and concludes."""
    handle = open_study(config, name=folder.name, folder=folder, space=space, total=len(results), resume=False)
    tracker = open_tracker(handle.config.tracking)
    for result in results:
        home = folder / "trials" / str(result.number)
        own = config.model_copy(update={"alpha": result.params["alpha"], "seed": result.seed})
        with tracker.trial(
            result.number, run_name(result.params, own), handle.parent_run_id, config=own, folder=home
        ) as run:
            for step in result.telemetry:
                run.log_metrics(step.metrics, step.step)
            keep(replace(result, run_id=run.run_id), home, run, handle.parent_run_id)
    conclude(handle, failures={})
    return handle
