"""A study that is looked at, stopped, extended and joined by other processes while it runs."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator

import pytest

from tests.integration.search import postgresql
from tests.integration.search.test_search_processes import App, app, wait_until

__all__ = ["app"]
SEARCH = ("alpha=interval(0,1)", "study=s", "hydra.sweeper.n_trials=2", "hydra/sweeper/sampler=random")


@pytest.fixture
def server() -> Iterator[postgresql.Server]:
    if postgresql.programs() is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    started = postgresql.Server()
    yield started
    started.close()


def test_status_tells_what_runs_what_is_best_and_what_failed(app: App) -> None:
    app.hold(1)
    running = app.start("alpha=0.1,0.5,0.9", "study=s", "hydra.sweeper.objective=eval/overall")
    wait_until(lambda: app.numbers("start")[1])
    said = app.command("status")
    assert re.search(r"study s: 1 finished \(0 of them early\), 1 running, 0 failed of 3; about \d+:\d\d to go", said)
    assert re.search(r"0 +alpha=0.1 +0.1 +1", said)
    assert re.search(r"1 +alpha=0.5 +elsewhere", said)
    app.release(1)
    running.communicate(timeout=180)
    said = app.command("status", "study=s", "results_dir=results")
    assert "3 finished" in said
    assert "to go" not in said
    assert re.search(r"the largest eval/overall\n.*\n.*\n *2 +alpha=0.9 +0.9", said), said


def test_stop_ends_a_study_at_its_safe_points_and_resume_goes_on(app: App) -> None:
    app.hold(1)
    running = app.start("alpha=0.1,0.5,0.9", "study=s")
    wait_until(lambda: app.numbers("start")[1])
    assert "its workers finish their step" in app.command("stop", "study=s")
    said, _ = running.communicate(timeout=180)
    assert running.returncode == 1
    assert "unfinished: trials 1-2; the study was stopped: by the command stop" in said
    app.release(1)
    app.run("alpha=0.1,0.5,0.9", "study=s", "resume=true")
    assert app.numbers("end") == {0: 1, 1: 1, 2: 1}


def test_add_gives_a_running_search_more_points(app: App) -> None:
    app.hold(1)
    running = app.start(*SEARCH)
    wait_until(lambda: app.numbers("start")[1])
    assert "4 points now" in app.command("add", "study=s", "n_trials=2")
    app.release(1)
    said, _ = running.communicate(timeout=180)
    assert running.returncode == 0, said
    assert app.numbers("end") == {0: 1, 1: 1, 2: 1, 3: 1}
    app.run(*SEARCH, "resume=true")  # with the budget it was begun with
    assert sum(app.numbers("end").values()) == 4


def test_a_grid_is_not_added_to(app: App) -> None:
    app.run("alpha=0.1", "study=s")
    assert "study s is a grid and has all its points" in app.command("add", "study=s", "n_trials=2", code=2)
    assert "got n_trials=nothing" in app.command("add", "study=s", code=2)
    assert "no study nope in results; there are: s" in app.command("status", "study=nope", code=2)
    assert "got 'sutdy=s'" in app.command("status", "sutdy=s", code=2)


def test_a_worker_joins_from_another_folder_and_leaves(app: App, server: postgresql.Server) -> None:
    app.hold(0)
    app.hold(1)
    (app.folder / "leave-results").touch()
    running = app.start("alpha=0.1,0.5,0.9", "study=s", f"hydra.sweeper.storage='{server.url}'")
    wait_until(lambda: app.numbers("start")[0])
    joined = app.start_command("worker", "study=s", f"storage={server.url}", "results_dir=elsewhere")
    wait_until(lambda: app.numbers("start")[1])
    joined.terminate()  # it leaves, and its trial goes back
    said, _ = joined.communicate(timeout=180)
    assert joined.returncode == 130, said
    again = app.start_command("worker", "study=s", f"storage={server.url}", "results_dir=elsewhere")
    wait_until(lambda: app.numbers("start")[1] == 2)
    app.release(1)
    wait_until(lambda: app.numbers("end")[2])
    app.release(0)
    for process in (running, again):
        said, _ = process.communicate(timeout=180)
        assert process.returncode == 0, said
    assert app.numbers("end") == {0: 1, 1: 1, 2: 1}
    assert (app.folder / "elsewhere/s/trials/2/.hydra/config.yaml").is_file()
    handed_over = app.folder / "results/s/trials/2"
    assert (handed_over / "result.json").read_text() == '{"of": 2}'
    assert (handed_over / ".hydra/config.yaml").read_text().startswith("study: s\nalpha: 0.9")
    assert "3 finished" in app.command("status", f"storage={server.url}")


def test_a_database_that_restarts_costs_no_trial(app: App, server: postgresql.Server) -> None:
    app.hold(0)
    running = app.start("alpha=0.1,0.5", "study=s", f"hydra.sweeper.storage='{server.url}'")
    wait_until(lambda: app.numbers("start")[0])
    server.stop()
    app.release(0)
    wait_until(lambda: app.numbers("end")[0])
    server.start()
    said, _ = running.communicate(timeout=180)
    assert running.returncode == 0, said
    assert app.numbers("end") == {0: 1, 1: 1}


@pytest.mark.filterwarnings("ignore")
def test_optuna_dashboard_shows_the_study(app: App) -> None:
    dashboard = pytest.importorskip("optuna_dashboard")
    from wsgiref.simple_server import make_server

    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    app.run(*SEARCH)
    storage = JournalStorage(JournalFileBackend(str(app.folder / "results/s/study.log")))
    with make_server("127.0.0.1", 0, dashboard.wsgi(storage)) as httpd:
        import threading

        thread = threading.Thread(target=lambda: [httpd.handle_request() for _ in range(2)], daemon=True)
        thread.start()
        base = f"http://127.0.0.1:{httpd.server_port}/api/studies"
        (study,) = json.load(urllib.request.urlopen(base, timeout=20))["study_summaries"]
        shown = json.load(urllib.request.urlopen(f"{base}/{study['study_id']}?after=0", timeout=20))
        thread.join()
    assert study["study_name"] == "s"
    assert [trial["state"] for trial in shown["trials"]] == ["Complete", "Complete"]
    assert [p["name"] for p in shown["trials"][0]["params"]] == ["alpha"]
