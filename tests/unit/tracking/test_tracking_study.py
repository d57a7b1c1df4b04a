"""A whole study of invented trials, as it stands in MLflow afterwards: what its interface draws is all there."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bai_sweep.records import TrialResult
from bai_sweep.study import StudyHandle, conclude, read_study
from bai_sweep.tracking._view import VIEW_TAG
from tests.replay import replay, tracked_config
from tests.synthetic import realistic
from tests.tracking_store import children, client, shared_config


@dataclass(frozen=True)
class Kept:
    """A study in the shared store."""

    handle: StudyHandle
    parent: Any
    trials: dict[str, Any]  # runs by name


def three(*, collapse: float) -> list[TrialResult]:
    return [
        realistic(n, alpha, skill=0.8 - 0.3 * alpha, collapse=alpha >= collapse)
        for n, alpha in enumerate((0.1, 0.5, 0.9))
    ]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    home = tmp_path_factory.mktemp("study")
    tracking = shared_config(home)
    config = tracked_config(home).model_copy(update={"tracking": tracking})
    handle = replay(config, home / "results" / "ratios", three(collapse=0.9), {"alpha": "0.1,0.5,0.9"})
    return Kept(handle, *fetched(handle))


def fetched(handle: StudyHandle) -> tuple[Any, dict[str, Any]]:
    assert handle.parent_run_id
    return client().get_run(handle.parent_run_id), {r.info.run_name: r for r in children(handle.parent_run_id)}


def artifacts(run: Any) -> set[str]:
    return {item.path for item in client().list_artifacts(run.info.run_id)}


def test_runs_are_named_by_their_point_and_seed(kept: Kept) -> None:
    assert set(kept.trials) == {"alpha=0.1, seed=0", "alpha=0.5, seed=0", "alpha=0.9, seed=0"}


def test_a_trials_run_explains_itself(kept: Kept) -> None:
    run = kept.trials["alpha=0.9, seed=0"]
    note = run.data.tags["mlflow.note.content"]
    assert note.startswith("**alpha=0.9, seed=0: length collapse (certain)")
    assert f"#/runs/{kept.parent.info.run_id}" in note
    assert f"path=curves.png&run_uuid={run.info.run_id}" in note
    assert "curves.png" in artifacts(run)
    assert run.data.metrics["stability/worst_severity"] == 0.5
    assert run.data.params["alpha"] == "0.9"


def test_the_study_has_its_view(kept: Kept) -> None:
    tags = client().get_experiment(kept.parent.info.experiment_id).tags
    assert tags[VIEW_TAG + kept.parent.info.run_id].startswith("deflate;")
    link = read_study(kept.handle.folder).link
    assert link
    assert f"viewStateShareKey={kept.parent.info.run_id}" in link


def test_the_studys_run_has_recommendation_and_comparison(kept: Kept) -> None:
    winner = kept.trials["alpha=0.1, seed=0"]
    tags, metrics = kept.parent.data.tags, kept.parent.data.metrics
    assert (tags["recommended"], tags["best.trial"], tags["best.run"]) == ("alpha=0.1", "0", winner.info.run_id)
    assert metrics["best/alpha"] == 0.1
    assert metrics["best/overall"] == winner.data.metrics["eval/overall"]
    assert metrics["best/objective/final_kl"] == winner.data.metrics["objective/final_kl"]
    assert not any(name.startswith("best/seconds") for name in metrics)
    assert {"report.html", "report.md", "comparison_table.json", "score_vs_alpha.png"} <= artifacts(kept.parent)
    note = tags["mlflow.note.content"]
    assert tags["reason"] in note
    assert f"path=score_vs_alpha.png&run_uuid={kept.parent.info.run_id}" in note
    table = json.loads(Path(client().download_artifacts(kept.parent.info.run_id, "comparison_table.json")).read_text())
    assert table["columns"][:2] == ["trial", "alpha"]
    assert [row[1] for row in table["data"]] == ["0.1", "0.5", "0.9"]


def test_best_figures_are_means_over_the_points_seeds_and_the_note_begins_with_the_winner(tmp_path: Path) -> None:
    config = tracked_config(tmp_path).model_copy(update={"tracking": shared_config(tmp_path)})
    points = [(alpha, seed) for alpha in (0.1, 0.5) for seed in range(3)]
    results = [
        replace(realistic(n, alpha, skill=0.3 + alpha, params={"alpha": alpha, "seed": seed}), seed=seed)
        for n, (alpha, seed) in enumerate(points)
    ]
    handle = replay(config, tmp_path / "results" / "seeds", results, {"alpha": "0.1,0.5", "seed": "0,1,2"})
    parent, _ = fetched(handle)
    better = [result.report.overall for result in results[3:]]
    assert parent.data.metrics["best/overall"] == pytest.approx(sum(better) / 3)
    assert parent.data.metrics["best/alpha"] == 0.5
    assert "best/seed" not in parent.data.metrics
    rows = [line for line in parent.data.tags["mlflow.note.content"].splitlines() if line.startswith("| ")]
    assert rows[2].startswith(f"| {parent.data.tags['best.trial']}\\* |")


@pytest.mark.parametrize("broken", ["bai_sweep.tracking.study_note", "bai_sweep.report.write_figures"])
def test_whatever_fails_at_the_end_the_study_is_marked_as_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("broken on purpose")

    config = tracked_config(tmp_path).model_copy(update={"tracking": shared_config(tmp_path)})
    monkeypatch.setattr(broken, fail)
    fatal = broken.startswith("bai_sweep.report")
    with pytest.raises(RuntimeError, match="on purpose") if fatal else nullcontext():
        replay(config, tmp_path / "results" / "broken", three(collapse=0.9), {"alpha": "0.1,0.5,0.9"})
    [parent] = client().search_runs(
        [client().get_experiment_by_name(str(tmp_path)).experiment_id], "tags.`bai.kind` = 'study'"
    )
    assert parent.info.status == "FINISHED"
    assert ("recommended" in parent.data.tags) != fatal


def test_a_study_that_loses_its_winner_says_so(kept: Kept) -> None:
    for result in three(collapse=0.0):
        result.save(kept.handle.folder / "trials" / str(result.number))
    conclude(kept.handle, failures={})
    parent, _ = fetched(kept.handle)
    assert [parent.data.tags[name] for name in ("recommended", "best.trial", "best.run")] == ["none"] * 3
