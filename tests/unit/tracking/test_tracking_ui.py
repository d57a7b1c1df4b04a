"""The interface's command and links, and the package's command line."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
import webbrowser
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from bai_sweep.config import TrackingConfig
from bai_sweep.records import UserError
from bai_sweep.tracking import absolute, open_tracker, settle, study_url, ui_command, unsent
from bai_sweep.tracking.__main__ import _has_screen, _open_when_up, main
from bai_sweep.tracking._ui import HOST
from tests.tracking_store import client, shared_config


def config(uri: str, kind: str = "mlflow") -> TrackingConfig:
    return TrackingConfig.model_validate(
        {"kind": kind, "name": kind, "uri": uri, "artifacts": "mlartifacts", "experiment": "x"}
    )


def test_relative_stores_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = absolute(config("sqlite:///mlflow.db"))
    assert found.uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert found.artifacts == str(tmp_path / "mlartifacts")
    assert absolute(config("http://host:5000")).uri == "http://host:5000"
    assert absolute(found) == found


def test_the_command_serves_on_this_machine_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = ui_command(config("sqlite:///mlflow.db"), 5050)
    options = dict(zip(command[4::2], command[5::2], strict=True))
    assert command[1:4] == ["-m", "mlflow", "server"]
    assert options["--backend-store-uri"] == f"sqlite:///{tmp_path}/mlflow.db"
    assert (options["--host"], options["--port"]) == ("127.0.0.1", "5050")
    assert options["--default-artifact-root"] == (tmp_path / "mlartifacts").as_uri()


def test_no_command_without_a_store_of_ours() -> None:
    with pytest.raises(UserError, match="server already; open http://host:5000"):
        ui_command(config("http://host:5000"))
    with pytest.raises(UserError, match="keeps no MLflow store"):
        ui_command(config("", "none"))


def test_the_comparison_link_names_runs_and_experiment(tmp_path: Path) -> None:
    tracker = open_tracker(shared_config(tmp_path))
    runs = [str(tracker.start_study(name)) for name in "ab"]
    experiment = client().get_run(runs[0]).info.experiment_id
    address = urlsplit(study_url(shared_config(tmp_path), runs[0], runs))
    route = urlsplit(address.fragment)
    query = parse_qs(route.query)
    assert (address.netloc, route.path) == ("127.0.0.1:5000", "/compare-runs")
    assert json.loads(query["runs"][0]) == runs
    assert json.loads(query["experiments"][0]) == [experiment]
    one = study_url(shared_config(tmp_path), runs[0], runs[:1], 5050)
    assert one == f"http://127.0.0.1:5050/#/experiments/{experiment}/runs/{runs[0]}"
    assert study_url(shared_config(tmp_path), runs[0], runs * 50).endswith("?compareRunsMode=CHART")


def test_a_link_never_fails(tmp_path: Path) -> None:
    assert study_url(shared_config(tmp_path), "0" * 32, []) == "http://127.0.0.1:5000/#/experiments"
    assert study_url(shared_config(tmp_path), "0" * 32, ["0" * 32]) == "http://127.0.0.1:5000/#/experiments"


def test_no_link_has_the_servers_password(capsys: pytest.CaptureFixture[str]) -> None:
    store = config("http://me:hush@127.0.0.1:9/mlflow/")
    assert study_url(store, "0" * 32, []) == "http://127.0.0.1:9/mlflow/#/experiments"
    with pytest.raises(UserError, match=r"open http://127\.0\.0\.1:9/mlflow$"):
        ui_command(store)
    assert main(["ui", "--uri", store.uri]) == 0
    output = capsys.readouterr()
    assert "server already" in output.out
    assert "hush" not in output.out + output.err


def test_a_browser_needs_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not _has_screen()
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert _has_screen()


def test_the_browser_opens_once_the_server_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    with socket.socket() as server:
        server.bind((HOST, 0))
        port = server.getsockname()[1]
        waiting = threading.Thread(target=_open_when_up, args=("http://study", port))
        waiting.start()
        time.sleep(0.2)
        assert opened == []
        server.listen()
        waiting.join(10)
    assert opened == ["http://study"]


def test_sync_from_the_shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tracker = open_tracker(shared_config(tmp_path))
    with tracker.trial(0, "t", None, config={"seed": 0}, folder=tmp_path / "0") as run:
        run.log_metrics({"m": 1.0}, 1)
    (tmp_path / "0" / "journal.sent.json").unlink()
    assert main(["sync", str(tmp_path / "0")]) == 0
    assert f"to run {run.run_id}" in capsys.readouterr().out
    assert main(["sync", str(tmp_path / "nothing")]) == 2
    assert "no journal.jsonl" in capsys.readouterr().err


def test_sync_leaves_a_living_run_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tracker = open_tracker(shared_config(tmp_path))
    with tracker.trial(0, "t", None, config={"seed": 0}, folder=tmp_path / "0"):
        (tmp_path / "0" / "journal.sent.json").unlink(missing_ok=True)
        assert main(["sync", str(tmp_path / "0")]) == 0
    assert "going on" in capsys.readouterr().out


def test_sync_asks_for_a_masked_password_and_sends_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = {"attempt": "a", "event": "start", "time": 0, "uri": "postgresql://***@host/db"}
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "journal.jsonl").write_text(json.dumps(line) + "\n")
    with open_tracker(shared_config(tmp_path)).trial(1, "t", None, config={"seed": 0}, folder=tmp_path / "1"):
        pass
    (tmp_path / "1" / "journal.sent.json").unlink()
    assert unsent(tmp_path) == [tmp_path / "0", tmp_path / "1"]

    assert main(["sync", str(tmp_path)]) == 1

    said = capsys.readouterr().out
    assert "--uri" in said
    assert "events sent to run" in said
    assert unsent(tmp_path) == [tmp_path / "0"]


def test_settle_ends_the_run_of_a_finished_trial_whose_process_died(tmp_path: Path) -> None:
    config = shared_config(tmp_path)
    with open_tracker(config).trial(0, "t", None, config={"seed": 0}, folder=tmp_path) as run:
        run.log_metrics({"eval/overall": 50.0})
    journal = tmp_path / "journal.jsonl"
    run_id = json.loads((tmp_path / "journal.sent.json").read_text())["run_id"]
    client().update_run(run_id, status="RUNNING")
    *before, end = journal.read_text().splitlines(keepends=True)
    assert '"end"' in end
    journal.write_text("".join(before))
    (tmp_path / "journal.sent.json").unlink()

    settle(tmp_path, config.uri)

    found = client().get_run(run_id)
    assert found.info.status == "FINISHED"
    assert found.data.metrics["eval/overall"] == 50.0


def test_untracked_journals_are_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_tracker(config("", "none")).trial(0, "t", None, config={}, folder=tmp_path):
        pass
    assert main(["sync", str(tmp_path)]) == 0
    assert "tracking was off" in capsys.readouterr().out
