"""Views, descriptions and short names: what MLflow's interface is given to show."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from bai_sweep.config import TrialConfig, parse
from bai_sweep.records import EvalReport
from bai_sweep.sources import packaged_dir
from bai_sweep.tracking import (
    flatten,
    newest_study_url,
    open_tracker,
    study_note,
    study_url,
    study_view,
    swept_columns,
    trial_note,
)
from bai_sweep.tracking._view import OF_TRAINING, VIEW_TAG, encode_view
from tests.synthetic import realistic, score
from tests.tracking_store import client, shared_config

TAG_LIMIT = 5000


def configured(*overrides: str) -> TrialConfig:
    with initialize_config_dir(str(packaged_dir("conf")), version_base="1.3"):
        return parse(compose("config", overrides=list(overrides)))


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


def test_without_rl_a_view_asks_for_no_figure_of_training() -> None:
    view = study_view("abc", ["alpha"], ["gsm8k"], trained=False)
    assert not any(name in column for column in view["selectedColumns"] for name in OF_TRAINING)
    [parallel] = [chart for chart in view["compareRunCharts"] if chart["type"] == "PARALLEL"]
    assert parallel["selectedMetrics"] == ["eval/overall"]
    assert "LINE" not in {chart["type"] for chart in view["compareRunCharts"]}


def test_without_benchmarks_trials_stand_by_the_length_of_their_responses() -> None:
    view = study_view("abc", ["alpha"])
    assert "eval/" not in json.dumps(view)
    assert view["orderByKey"] == "metrics.`stability/length_ratio`"
    [scatter] = [chart for chart in view["compareRunCharts"] if chart["type"] == "SCATTER"]
    assert scatter["yaxis"]["key"] == "stability/length_ratio"
    bare = study_view("abc", ["alpha"], trained=False)
    assert bare["orderByKey"] == "attributes.start_time"
    assert {chart["type"] for chart in bare["compareRunCharts"]} == {"PARALLEL"}


def test_a_group_is_seen_by_its_name_and_a_simplex_by_its_weights() -> None:
    config = configured("actor/merge=slerp")
    keys = ["alpha", "rl.kl_coef", "weights", "actor", "actor/merge", "rl.of_another_group"]
    assert swept_columns(keys, config) == [
        "alpha",
        "rl.kl_coef",
        "weights.instruct",
        "weights.distilled",
        "actor.name",
        "actor.merge.method",
    ]


@pytest.mark.parametrize("sweep", sorted(path.stem for path in packaged_dir("sweeps").glob("*.yaml")))
def test_every_shipped_sweep_is_seen_in_columns_that_its_runs_have(sweep: str) -> None:
    overrides = [f"+sweep={sweep}"]
    with initialize_config_dir(str(packaged_dir("conf")), version_base="1.3"):
        composed = compose("config", overrides=overrides, return_hydra_config=True)
    keys = list(composed.hydra.sweeper.params)
    columns = swept_columns(keys, configured(*overrides))
    assert columns
    assert set(columns) <= set(flatten(configured(*overrides)))
    unconditional = [key for key in keys if key not in (composed.hydra.sweeper.get("conditions") or {})]
    for key in unconditional:
        assert any(column.startswith(key.replace("/", ".")) for column in columns), key


def test_a_trials_description_has_verdict_scores_and_its_study() -> None:
    result = replace(realistic(3, 0.9, skill=0.5, collapse=True), run_id="own1")
    note = trial_note(result, "parent1")
    assert note.startswith("**alpha=0.9, seed=0: length collapse (certain)")
    assert "(#/runs/parent1)" in note
    assert "run_uuid=own1" in note
    for one in result.report.scores:
        assert f"| {one.benchmark} | {one.value:.1f} ± {one.stderr:.1f} | {one.n} |" in note
    alone = trial_note(replace(result, run_id=None, params={"alpha": 0.9, "seed": 4}), None)
    assert alone.startswith("**alpha=0.9, seed=4: length")
    assert "run_uuid" not in alone
    assert "#/runs/" not in alone


def test_a_trials_description_keeps_to_a_tag_with_whole_rows() -> None:
    scores = tuple(score(f"mmlu_subject_{n}", [0.0, 100.0, 100.0]) for n in range(300))
    many = replace(realistic(3, 0.9, skill=0.5, collapse=True), run_id="own1", report=EvalReport(scores))
    note = trial_note(many, "parent1")
    assert len(note) <= TAG_LIMIT
    shown = note.count("| mmlu_subject_")
    assert shown > 20
    assert note.endswith(f"| 3 |\n\n{shown + 1} of 301 rows.")  # overall is the first


def test_a_long_reason_or_command_leaves_room_for_the_figures() -> None:
    note = study_note(["a"], [["b"]], reason="r" * 9000, command="c" * 9000, own="id", figures=["f.png"])
    assert len(note) <= TAG_LIMIT
    assert "path=f.png&run_uuid=id" in note


@pytest.mark.parametrize("benchmarks", [3, 20, 300])
def test_a_studys_description_keeps_to_a_tag_whatever_is_in_it(benchmarks: int) -> None:
    columns = ["trial", "alpha", *(f"benchmark {n}" for n in range(benchmarks)), "verdict"]
    rows = [[f"{n}*", "0.1", *(["71.3 ± 1.6"] * benchmarks), f"length | collapse {n}"] for n in range(200)]
    figures = [f"a figure {n}.png" for n in range(7)]
    note = study_note(columns, rows, reason="0.5 is best", command="the command", own="r" * 32, figures=figures)
    assert len(note) <= TAG_LIMIT
    assert note.startswith("**0.5 is best**")
    assert note.endswith("`the command`")
    assert f"path=a%20figure%206.png&run_uuid={'r' * 32}" in note
    shown = note.count("71.3") // benchmarks
    assert f"{shown} of 200 trials" in note
    assert (shown > 0) == (benchmarks < 300)
    if shown:
        assert f"| length \\| collapse {shown - 1} |" in note
        assert "| 0\\* |" in note


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
    newest = newest_study_url(config)
    assert newest
    assert newest.endswith(wanted)
