"""Views, descriptions and short names: what MLflow's interface is given to show."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path

from bai_sweep.tracking import (
    newest_study_url,
    open_tracker,
    short_names,
    study_note,
    study_url,
    study_view,
    swept_params,
    trial_note,
)
from bai_sweep.tracking._view import VIEW_TAG, encode_view
from tests.synthetic import realistic
from tests.tracking_store import client, shared_config

TAG_LIMIT = 5000


def test_a_view_survives_its_encoding_and_fits_a_tag() -> None:
    view = study_view("p" * 32, ["alpha", "kl_coef"], [f"benchmark_{n}" for n in range(40)])
    text = encode_view(view)
    kind, _, body = text.partition(";")
    assert kind == "deflate"
    assert json.loads(zlib.decompress(base64.b64decode(body))) == view
    assert len(text) < TAG_LIMIT


def test_a_view_asks_for_the_studys_trials_by_their_score() -> None:
    view = study_view("abc", ["alpha"], ["gsm8k"])
    assert view["searchFilter"] == "tags.mlflow.parentRunId = 'abc'"
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`eval/overall`", False)
    assert {"params.`alpha`", "metrics.`eval/overall`", "metrics.`eval/gsm8k`"} <= set(view["selectedColumns"])
    sections = {section["uuid"] for section in view["compareRunSections"]}
    assert {chart["metricSectionId"] for chart in view["compareRunCharts"]} == sections
    identities = [chart["uuid"] for chart in view["compareRunCharts"]]
    assert len(set(identities)) == len(identities)


def test_a_study_without_swept_parameters_has_no_scatter() -> None:
    assert "SCATTER" not in {chart["type"] for chart in study_view("abc", [])["compareRunCharts"]}
    assert "SCATTER" in {chart["type"] for chart in study_view("abc", ["alpha"])["compareRunCharts"]}


def test_short_names_are_last_parts_unless_two_are_the_same() -> None:
    assert short_names(["alpha", "rl.kl_coef"]) == {"alpha": "alpha", "rl.kl_coef": "kl_coef"}
    assert short_names(["rl.lr", "critic.lr"]) == {"rl.lr": "rl.lr", "critic.lr": "critic.lr"}
    assert short_names(["actor/merge"]) == {"actor/merge": "merge"}


def test_a_swept_parameter_never_takes_a_name_that_the_configuration_has() -> None:
    config = {"alpha": 0.5, "seed": 0, "name": "x", "rl": {"kl_coef": 0.1}}
    swept = {"alpha": 0.5, "rl.kl_coef": 0.1, "model.name": "testbed"}
    assert swept_params(swept, config) == {"kl_coef": "0.1"}


def test_a_trials_description_has_verdict_scores_and_its_study() -> None:
    result = realistic(3, 0.9, skill=0.5, collapse=True)
    note = trial_note(result, "parent1", "own1")
    assert note.startswith("**")
    assert "length collapse (certain)" in note.splitlines()[0]
    assert "(#/runs/parent1)" in note
    assert "run_uuid=own1" in note
    for score in result.report.scores:
        assert f"| {score.benchmark} | {score.value:.1f} ± {score.stderr:.1f} | {score.n} |" in note
    assert "run_uuid" not in trial_note(result, None, None)
    assert "#/runs/" not in trial_note(result, None, None)


def test_a_studys_description_keeps_to_its_first_rows() -> None:
    rows = [[str(n), f"{n}|{n}", "*"] for n in range(200)]
    note = study_note(["trial", "score", ""], rows, reason="0.5 is best", command="c", own="r", figures=["a b.png"])
    assert note.startswith("**0.5 is best**")
    assert "The first 10 of 200 trials" in note
    assert "| 9 | 9\\|9 | \\* |" in note
    assert "| 10 |" not in note
    assert "path=a%20b.png&run_uuid=r" in note
    assert len(note) < TAG_LIMIT


def test_a_studys_link_opens_its_view_once_it_has_one(tmp_path: Path) -> None:
    config = shared_config(tmp_path)
    tracker = open_tracker(config)
    parent = str(tracker.start_study("viewed"))
    experiment = client().get_run(parent).info.experiment_id
    assert study_url(config, parent, [parent]).endswith(f"/runs/{parent}")  # a study from before views
    view = study_view(parent, ["alpha"])
    with tracker.attach(parent, tmp_path / "study") as run:
        run.log_view(view)
    tracker.finish(parent, "FINISHED")
    assert client().get_experiment(experiment).tags[VIEW_TAG + parent] == encode_view(view)
    opened = f"viewStateShareKey={parent}&compareRunsMode=CHART&workflowType=machine_learning"
    wanted = f"/#/experiments/{experiment}/runs?{opened}"
    assert study_url(config, parent, [parent]).endswith(wanted)
    assert newest_study_url(config).endswith(wanted)
