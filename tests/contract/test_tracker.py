"""What every tracker promises, whatever stands behind it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from bai_sweep.config import TrackingConfig
from bai_sweep.records import UserError
from bai_sweep.tracking import Tracker, open_tracker
from bai_sweep.tracking._view import encode_view
from tests.tracking_store import shared_config

CONFIG = {"alpha": 0.5, "seed": 3, "weights": {"instruct": 0.5, "distilled": 0.5}, "api_key": "hush"}


def journal(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]


class TrackerContract:
    """Subclasses give `tracker`."""

    tracked: bool

    @pytest.fixture
    def tracker(self, tmp_path: Path) -> Tracker:
        raise NotImplementedError

    @pytest.fixture
    def study(self, tracker: Tracker) -> str | None:
        return tracker.start_study("study", {"seed": 0, "space.alpha": "0.1,0.5"}, {"model": "tiny"}, "a *study*")

    def test_study_has_an_id_exactly_if_it_is_tracked(self, study: str | None) -> None:
        assert (study is not None) == self.tracked

    def test_trial_has_an_id_exactly_if_it_is_tracked(
        self, tracker: Tracker, study: str | None, tmp_path: Path
    ) -> None:
        with tracker.trial(0, "alpha=0.5", study, config=CONFIG, folder=tmp_path) as run:
            assert (run.run_id is not None) == self.tracked

    def test_journal_holds_everything_logged(self, tracker: Tracker, study: str | None, tmp_path: Path) -> None:
        with tracker.trial(0, "alpha=0.5", study, config=CONFIG, folder=tmp_path, tags={"group": "g"}) as run:
            run.log_metrics({"objective/kl": 1.5, "broken": float("nan")}, 7)
            run.log_metrics({"eval/overall": 50.0})
            run.set_tags({"verdict": "stable"})
        events = journal(tmp_path)
        assert [events[0]["event"], events[-1]["event"]] == ["start", "end"]
        assert events[-1]["status"] == "FINISHED"
        assert events[0]["tags"]["group"] == "g"
        metrics = [(e["step"], e["values"]) for e in events if e["event"] == "metrics"]
        assert metrics == [(7, {"objective/kl": 1.5, "broken": "nan"}), (0, {"eval/overall": 50.0})]
        params = merged(e["values"] for e in events if e["event"] == "params")
        assert params["alpha"] == "0.5"
        assert params["weights.instruct"] == "0.5"
        assert {"verdict": "stable"} in [e["values"] for e in events if e["event"] == "tags"]

    def test_no_secret_reaches_the_folder(self, tracker: Tracker, study: str | None, tmp_path: Path) -> None:
        with tracker.trial(0, "t", study, config=CONFIG, folder=tmp_path) as run:
            run.log_params({"judge.password": "hush"})
            run.set_tags({"where": "postgresql://me:hush@host/db"})
        texts = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
        assert texts
        assert not any("hush" in text for text in texts)

    def test_texts_tables_and_figures_stand_in_the_folder(
        self, tracker: Tracker, study: str | None, tmp_path: Path
    ) -> None:
        from matplotlib.figure import Figure

        with tracker.trial(0, "t", study, config=CONFIG, folder=tmp_path) as run:
            text = run.log_text("hello", "notes/a.txt")
            table = run.log_table([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}], "table.json")
            figure = run.log_figure(Figure(), "figure.png")
        assert text.read_text() == "hello"
        assert json.loads(table.read_text()) == {"columns": ["a", "b"], "data": [[1, "x"], [2, "y"]]}
        assert figure.read_bytes().startswith(b"\x89PNG")
        logged = [(e["path"], e["folder"]) for e in journal(tmp_path) if e["event"] == "artifact"]
        assert ("artifacts/notes/a.txt", "notes") in logged
        names = {path.name for path in (tmp_path / "artifacts").iterdir()}
        assert {"config.yaml", "environment.json"} <= names

    def test_a_view_stands_in_the_journal(self, tracker: Tracker, study: str | None, tmp_path: Path) -> None:
        with tracker.attach(study, tmp_path) as run:
            run.log_view({"orderByKey": "metrics.`eval/overall`"})
        [view] = [event["value"] for event in journal(tmp_path) if event["event"] == "view"]
        assert view == encode_view({"orderByKey": "metrics.`eval/overall`"})

    @pytest.mark.parametrize("name", ["../up.txt", "/tmp/absolute.txt"])
    def test_artifact_names_stay_inside(self, tracker: Tracker, study: str | None, tmp_path: Path, name: str) -> None:
        with (
            tracker.trial(0, "t", study, config=CONFIG, folder=tmp_path) as run,
            pytest.raises(UserError, match="relative path"),
        ):
            run.log_text("x", name)

    def test_artifact_has_to_exist(self, tracker: Tracker, study: str | None, tmp_path: Path) -> None:
        with (
            tracker.trial(0, "t", study, config=CONFIG, folder=tmp_path) as run,
            pytest.raises(UserError, match=r"nowhere\.txt"),
        ):
            run.log_artifact(tmp_path / "nowhere.txt")

    def test_unknown_kind_of_figure(self, tracker: Tracker, study: str | None, tmp_path: Path) -> None:
        with (
            tracker.trial(0, "t", study, config=CONFIG, folder=tmp_path) as run,
            pytest.raises(UserError, match="got dict"),
        ):
            run.log_figure({}, "figure.png")

    @pytest.mark.parametrize(
        ("error", "status"),
        [(ValueError("bad token=abc"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (SystemExit(1), "KILLED")],
    )
    def test_exception_passes_through_and_is_recorded(
        self, tracker: Tracker, study: str | None, tmp_path: Path, error: BaseException, status: str
    ) -> None:
        with (
            pytest.raises(type(error)) as raised,
            tracker.trial(0, "t", study, config=CONFIG, folder=tmp_path),
        ):
            raise error
        assert raised.value is error
        events = journal(tmp_path)
        assert events[-1]["status"] == status
        reasons = [e["values"]["bai.failure"] for e in events if e["event"] == "tags" and "bai.failure" in e["values"]]
        assert reasons[0].startswith(type(error).__name__)
        assert "abc" not in reasons[0]

    def test_study_takes_its_own_artifacts(self, tracker: Tracker, study: str | None, tmp_path: Path) -> None:
        report = tmp_path / "report.html"
        report.write_text("<html>")
        with tracker.attach(study, tmp_path) as run:
            run.log_artifact(report)
            run.log_metrics({"trials/finished": 3})
            assert run.run_id == study
        assert {"artifact", "metrics"} <= {e["event"] for e in journal(tmp_path)}

    def test_reopen_and_finish(self, tracker: Tracker, study: str | None) -> None:
        assert tracker.finish(study, "FAILED")
        assert tracker.reopen(study) == study
        assert tracker.finish(study)


class TestNoTracker(TrackerContract):
    tracked = False

    @pytest.fixture
    def tracker(self, tmp_path: Path) -> Tracker:
        return open_tracker(TrackingConfig(kind="none", name="none", uri="", artifacts="", experiment=""))


class TestMlflow(TrackerContract):
    tracked = True

    @pytest.fixture
    def tracker(self, tmp_path: Path) -> Tracker:
        return open_tracker(shared_config(tmp_path))


def merged(parts: Iterator[Mapping[str, Any]]) -> dict[str, Any]:
    return {key: value for part in parts for key, value in part.items()}
