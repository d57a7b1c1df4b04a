"""What MLflow holds after a study, and that an outage neither stops a trial nor loses or doubles a number."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from bai_sweep.records import UserError
from bai_sweep.tracking import sync
from bai_sweep.tracking._mlflow import MlflowTracker
from bai_sweep.tracking._store import open_client
from tests.tracking_store import children, client, history, shared_config

CONFIG = {"alpha": 0.5, "seed": 3}


class Unsteady:
    """A real client that is away while `away` is set, or for single calls right after the store has done its work."""

    def __init__(self, uri: str) -> None:
        self._client = open_client(uri)
        self.away = False
        self.lose_answers = 0

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if self.away:
                raise ConnectionError("the server is away")
            answer = real(*args, **kwargs)
            if self.lose_answers and name in ("create_run", "log_batch"):
                self.lose_answers -= 1
                raise ConnectionError(f"no answer to {name}")
            return answer

        return call


@pytest.fixture
def unsteady(tmp_path: Path) -> Unsteady:
    from tests.tracking_store import shared_store

    return Unsteady(f"sqlite:///{shared_store()}")


@pytest.fixture
def tracker(tmp_path: Path, unsteady: Unsteady) -> MlflowTracker:
    return MlflowTracker(shared_config(tmp_path), patience=1.0, connect=lambda uri: unsteady)  # type: ignore[arg-type, return-value]


def run_trial(tracker: MlflowTracker, parent: str | None, folder: Path, number: int = 0, steps: int = 3) -> str | None:
    with tracker.trial(number, "alpha=0.5", parent, config=CONFIG, folder=folder) as run:
        for step in range(1, steps + 1):
            run.log_metrics({"objective/kl": 0.5 * step, "objective/scores": -step}, step)
    return run.run_id


def test_parent_and_child_hold_it_all(tracker: MlflowTracker, tmp_path: Path) -> None:
    parent = tracker.start_study("my study", {"space.alpha": "0.1,0.5"}, {"model": "tiny"}, "why")
    assert parent
    with tracker.trial(0, "alpha=0.5", parent, config=CONFIG, folder=tmp_path / "0") as run:
        run.log_metrics({"objective/kl": 0.5, "gone": math.nan}, 1)
        run.log_metrics({"objective/kl": 0.7}, 2)
        run.log_table([{"a": 1}], "tables/t.json")
        run.set_tags({"verdict": "stable"})
    tracker.finish(parent)
    study, (child,) = client().get_run(parent), children(parent)
    assert (study.info.run_name, study.info.status, study.data.tags["bai.kind"]) == ("my study", "FINISHED", "study")
    assert study.data.params == {"space.alpha": "0.1,0.5"}
    assert study.data.tags["mlflow.note.content"] == "why"
    assert (child.info.run_id, child.info.run_name, child.info.status) == (run.run_id, "alpha=0.5", "FINISHED")
    assert child.info.end_time >= child.info.start_time
    assert child.data.params["alpha"] == "0.5"
    assert child.data.tags["verdict"] == "stable"
    assert child.data.tags["seed"] == "3"
    assert history(child.info.run_id, "objective/kl") == [(1, 0.5), (2, 0.7)]
    assert math.isnan(child.data.metrics["gone"])
    files = {a.path for a in client().list_artifacts(child.info.run_id)}
    assert {"config.yaml", "environment.json", "tables"} <= files
    assert Path(tmp_path / "mlartifacts" / child.info.run_id / "artifacts" / "tables" / "t.json").is_file()


def test_a_later_attempt_replaces_an_unfinished_one(tracker: MlflowTracker, tmp_path: Path) -> None:
    parent = tracker.start_study("s")
    assert parent
    with (
        pytest.raises(ValueError, match="no luck"),
        tracker.trial(0, "t", parent, config=CONFIG, folder=tmp_path / "0") as first,
    ):
        raise ValueError("no luck")
    (child,) = children(parent)
    assert child.info.status == "FAILED"
    assert child.data.tags["bai.failure"] == "ValueError: no luck"
    run_trial(tracker, parent, tmp_path / "1", number=1)
    with tracker.trial(0, "t", parent, config=CONFIG, folder=tmp_path / "0") as again:
        second = again.run_id
        assert client().get_run(str(first.run_id)).info.lifecycle_stage == "deleted"
    by_number = {c.data.tags["bai.trial"]: c.info.run_id for c in children(parent)}
    assert len(children(parent)) == 2
    assert by_number["0"] == second


def test_a_finished_attempt_stays_until_a_later_one_finishes(tracker: MlflowTracker, tmp_path: Path) -> None:
    parent = tracker.start_study("s")
    assert parent
    first = run_trial(tracker, parent, tmp_path / "0")
    with (
        pytest.raises(ValueError, match="no luck"),
        tracker.trial(0, "t", parent, config=CONFIG, folder=tmp_path / "0"),
    ):
        raise ValueError("no luck")
    assert client().get_run(str(first)).info.lifecycle_stage == "active"
    third = run_trial(tracker, parent, tmp_path / "0")
    assert [c.info.run_id for c in children(parent)] == [third]


def test_an_outage_in_the_middle_loses_and_doubles_nothing(
    tracker: MlflowTracker, unsteady: Unsteady, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with tracker.trial(0, "t", None, config=CONFIG, folder=tmp_path / "0") as run:
        run_id = run.run_id
        unsteady.away = True
        for step in range(1, 40):
            run.log_metrics({"m": step}, step)
        run.set_tags({"x": "y"})
        wait_for(lambda: "out of reach" in caplog.text)
        unsteady.away = False
    assert history(str(run_id), "m") == [(step, float(step)) for step in range(1, 40)]
    assert client().get_run(str(run_id)).info.status == "FINISHED"
    assert caplog.text.count("out of reach") == 1


def test_answers_that_get_lost_double_nothing(tracker: MlflowTracker, unsteady: Unsteady, tmp_path: Path) -> None:
    parent = tracker.start_study("s")
    unsteady.lose_answers = 2  # the run is made and the first batch stored, but we are not told
    run_id = run_trial(tracker, parent, tmp_path / "0")
    assert [c.info.run_id for c in children(str(parent))] == [run_id]
    assert len(history(str(run_id), "objective/kl")) == 3


def test_what_an_outage_kept_back_is_synced_later_and_once(
    tracker: MlflowTracker, unsteady: Unsteady, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parent = tracker.start_study("s")
    unsteady.away = True
    begun = time.monotonic()
    assert run_trial(tracker, parent, tmp_path / "results" / "0") is None
    assert time.monotonic() - begun < 10.0
    assert "tracking sync" in caplog.text
    assert children(str(parent)) == []
    unsteady.away = False
    (synced,) = sync(tmp_path / "results", connect=lambda uri: unsteady)  # type: ignore[arg-type, return-value]
    (child,) = children(str(parent))
    assert (child.info.run_id, child.info.status, child.data.params["alpha"]) == (synced.run_id, "FINISHED", "0.5")
    assert history(child.info.run_id, "objective/scores") == [(1, -1.0), (2, -2.0), (3, -3.0)]
    (tmp_path / "results" / "0" / "journal.sent.json").unlink()  # even a lost mark doubles nothing
    assert sync(tmp_path / "results", connect=lambda uri: unsteady)[0].run_id == synced.run_id  # type: ignore[arg-type, return-value]
    assert len(history(child.info.run_id, "objective/scores")) == 3
    assert "before" in sync(tmp_path / "results")[0].skipped


def test_only_the_refused_event_is_left_out(
    tracker: MlflowTracker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with tracker.trial(0, "t", None, config=CONFIG, folder=tmp_path / "0") as run:
        assert run.run_id
        run.log_metrics({"m": 1.0}, 1)
        run.log_params({"alpha": 0.9})  # MLflow's parameters cannot change
        run.log_metrics({"m": 2.0}, 2)
    assert history(str(run.run_id), "m") == [(1, 1.0), (2, 2.0)]
    assert client().get_run(str(run.run_id)).info.status == "FINISHED"
    assert "refuses params" in caplog.text


def test_a_refused_start_is_not_lost(tracker: MlflowTracker, tmp_path: Path) -> None:
    parent = str(tracker.start_study("s"))
    experiment = client().get_run(parent).info.experiment_id
    client().delete_experiment(experiment)
    assert run_trial(tracker, parent, tmp_path / "0") is None
    client().restore_experiment(experiment)
    (synced,) = sync(tmp_path / "0")
    assert len(history(str(synced.run_id), "objective/kl")) == 3


def test_a_start_out_of_reach_is_an_error_a_finish_a_warning(
    tracker: MlflowTracker, unsteady: Unsteady, caplog: pytest.LogCaptureFixture
) -> None:
    parent = tracker.start_study("s")
    unsteady.away = True
    with pytest.raises(UserError, match=r"could not start the study: the server is away\n.*tracking\.uri"):
        tracker.start_study("t")
    assert not tracker.finish(parent)
    assert "stays as it is" in caplog.text


def test_reopen_restores_and_refuses_what_is_not_there(tracker: MlflowTracker) -> None:
    parent = str(tracker.start_study("s"))
    tracker.finish(parent, "FAILED")
    client().delete_run(parent)
    assert tracker.reopen(parent) == parent
    info = client().get_run(parent).info
    assert (info.status, info.lifecycle_stage) == ("RUNNING", "active")
    with pytest.raises(UserError, match="could not reopen"):
        tracker.reopen("0" * 32)


def test_a_deleted_experiment_is_explained(tracker: MlflowTracker, tmp_path: Path) -> None:
    parent = str(tracker.start_study("s"))
    client().delete_experiment(client().get_run(parent).info.experiment_id)
    with pytest.raises(UserError, match="was deleted; restore it"):
        tracker.start_study("t")


def test_a_file_store_is_refused(tmp_path: Path) -> None:
    config = shared_config(tmp_path).model_copy(update={"uri": "./mlruns"})
    with pytest.raises(UserError, match="a database or a server"):
        MlflowTracker(config)


def test_trials_at_the_same_time_do_not_mix(tracker: MlflowTracker, tmp_path: Path) -> None:
    parent = str(tracker.start_study("s"))
    numbers = range(4)
    threads = [
        threading.Thread(target=run_trial, args=(tracker, parent, tmp_path / str(n), n, 10 + n)) for n in numbers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lengths = {c.data.tags["bai.trial"]: len(history(c.info.run_id, "objective/kl")) for c in children(parent)}
    assert lengths == {str(n): 10 + n for n in numbers}


def test_logging_does_not_wait_for_the_store(tracker: MlflowTracker, unsteady: Unsteady, tmp_path: Path) -> None:
    unsteady.away = True
    with tracker.trial(0, "t", None, config=CONFIG, folder=tmp_path / "0") as run:
        begun = time.perf_counter()
        for step in range(50):
            run.log_metrics({f"m{i}": 0.1 for i in range(30)}, step)
        assert time.perf_counter() - begun < 0.5


def wait_for(condition: Any, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


# --- with real processes; slow because MLflow takes seconds to start ---


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def serve(folder: Path, port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder / 'server.db'}"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--artifacts-destination", str(folder / "served")]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "server.log").open("ab") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    wait_for(lambda: answers(port), 120.0)
    return server


def answers(port: int) -> bool:
    from urllib.request import urlopen

    try:
        with urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
            return True
    except OSError:
        return False


def end(server: subprocess.Popen[bytes]) -> None:
    os.killpg(server.pid, 9)
    server.wait()


@pytest.mark.slow
def test_a_killed_server_loses_nothing(tmp_path: Path, port: int) -> None:
    config = shared_config(tmp_path).model_copy(update={"uri": f"http://127.0.0.1:{port}", "artifacts": ""})
    server = serve(tmp_path, port)
    try:
        tracker = MlflowTracker(config, patience=30.0)
        parent = tracker.start_study("s")
        with tracker.trial(0, "t", parent, config=CONFIG, folder=tmp_path / "0") as run:
            run.log_metrics({"m": 1.0}, 1)
            assert run.run_id
            end(server)
            for step in range(2, 30):
                run.log_metrics({"m": float(step)}, step)
            run.log_text("kept", "note.txt")
            time.sleep(2.0)
            server = serve(tmp_path, port)
        from mlflow import MlflowClient

        served = MlflowClient(config.uri)
        points = [(p.step, p.value) for p in served.get_metric_history(run.run_id, "m")]
        assert points == [(step, float(step)) for step in range(1, 30)]
        assert served.get_run(run.run_id).info.status == "FINISHED"
        assert "note.txt" in {a.path for a in served.list_artifacts(run.run_id)}
    finally:
        end(server)


@pytest.mark.slow
def test_several_processes_make_the_store_at_once(tmp_path: Path) -> None:
    config = shared_config(tmp_path).model_copy(update={"uri": f"sqlite:///{tmp_path / 'new.db'}"})
    code = (
        "import sys; from bai_sweep.config import TrackingConfig; from bai_sweep.tracking import open_tracker\n"
        "print(open_tracker(TrackingConfig.model_validate_json(sys.argv[1])).start_study('s'))"
    )
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code, config.model_dump_json()], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(3)
    ]
    outputs = [worker.communicate(timeout=300) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert len({out for out, _ in outputs}) == 3
    assert [err for _, err in outputs] == [b"", b"", b""]  # and MLflow says nothing on the way


@pytest.mark.slow
def test_the_interface_opens_and_goes_with_ctrl_c(tmp_path: Path, port: int) -> None:
    store = shared_config(tmp_path).uri
    command = [sys.executable, "-m", "bai_sweep.tracking", "ui", "--port", str(port), "--uri", store]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as interface:
        try:
            wait_for(lambda: answers(port), 120.0)
        finally:
            interface.send_signal(signal.SIGINT)
        output, errors = interface.communicate(timeout=60)
    assert interface.returncode == 0
    assert f"the newest study: http://127.0.0.1:{port}/#/experiments".encode() in output
    assert b"Traceback" not in errors
    assert not answers(port)
