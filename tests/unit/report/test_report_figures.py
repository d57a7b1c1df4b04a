"""What the figures show, as data: points, means, intervals, marks, fronts, costs."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t

from bai_sweep.records import Score, StepTelemetry
from bai_sweep.report import StudyReport
from bai_sweep.report._cost import cost_table, duration, seconds_of, tokens_of
from bai_sweep.report._figures import _cut
from bai_sweep.report._gallery import gallery, legend
from bai_sweep.report._plotly import plot
from bai_sweep.report._points import score
from bai_sweep.report._series import DRAWN, mean_series, thinned
from bai_sweep.report._spec import DASHES
from bai_sweep.report._tradeoff import front
from bai_sweep.report._training import MOST, drawn, left_out
from tests.synthetic import BENCHMARKS, realistic, trial, verdict
from tests.unit.report.report_helpers import GEOMETRY, dots, panels, repeated, steps, study_of


@pytest.fixture
def three() -> StudyReport:
    results = (
        realistic(0, 0.1, skill=0.75),
        realistic(1, 0.5, skill=0.6),
        realistic(2, 0.9, skill=0.5, collapse=True),
    )
    return study_of(results, winner=0)


def test_every_panel_is_a_valid_plotly_figure(three: StudyReport) -> None:
    import plotly.graph_objects as go

    geometry = replace(three, geometry={r.number: GEOMETRY for r in three.results})
    shown = panels(geometry)
    assert len(shown) == 1 + len(BENCHMARKS) + 2 + 3 + 1 + 4 + 1
    for panel in shown.values():
        data = plot(panel)
        text = json.dumps({"data": data["traces"], "layout": data["layout"]}, allow_nan=False)
        text = re.sub(r'"((slot|hue):\d+|var:\w+)"', '"#123456"', text)
        go.Figure(json.loads(text))  # raises on a key or value that plotly.js does not have


def test_scores_stand_at_alpha_with_their_interval(three: StudyReport) -> None:
    barred = replace(three.choice, ineligible={2: "collapsed"})  # type: ignore[type-var]
    panel = panels(replace(three, choice=barred))["score-overall"]
    assert [(trace.x, trace.size) for trace in dots(panel)] == [((0.1,), 15), ((0.5,), 10)]
    assert [trace.x for trace in dots(panel, "ring")] == [(0.9,)]
    report = three.results[0].report
    assert dots(panel)[0].y == (report.overall,)
    assert dots(panel)[0].error == (pytest.approx(1.96 * report.overall_stderr),)
    assert (panel.x.low, panel.x.high, panel.x.ticks) == (pytest.approx(0.052), pytest.approx(0.948), (0.1, 0.5, 0.9))


def test_seeds_are_one_point_with_small_dots() -> None:
    results = repeated()
    panel = panels(study_of(results, winner=0))["score-overall"]
    assert len(dots(panel)) == 3
    singles = [trace for trace in panel.traces if trace.name == "seeds"]
    assert [len(trace.x) for trace in singles] == [3, 3, 3]
    assert singles[0].y == tuple(r.report.overall for r in results[:3])
    assert dots(panel)[0].y[0] == pytest.approx(np.mean(singles[0].y))


def test_the_interval_adds_seeds_to_items() -> None:
    """Against one-way analysis of variance by numpy and Student's t by SciPy, with items that all have 50 +- 50."""
    items = (0.0, 100.0) * 50
    values = {0.1: (40.0, 44.0), 0.5: (60.0, 61.0), 0.9: (50.0, 56.0)}
    results = [
        replace(trial(2 * k + s, {"alpha": a, "seed": s}, scores=[Score("only", v, 5.0, 100, "acc", items)]), seed=s)
        for k, (a, pair) in enumerate(values.items())
        for s, v in enumerate(pair)
    ]
    study = study_of(results)
    found = score(study, study.points[0], "only")
    within = np.mean([np.var(pair, ddof=1) for pair in values.values()])  # 3 degrees of freedom
    item_error = np.std(items, ddof=1) / 10
    error = math.sqrt(within / 2 + item_error**2)
    freedom = 3 * error**4 / (within / 2) ** 2
    assert found.value == 42.0
    assert found.error == pytest.approx(error)
    assert found.half == pytest.approx(t.ppf(0.975, freedom) * error)
    assert score(study, study.points[0], "overall").error == pytest.approx(error)


def test_the_axis_is_categorical_unless_alpha_is_swept(three: StudyReport) -> None:
    results = tuple(replace(r, params={"actor": f"paradigm{r.number + 1}"}) for r in three.results)
    axis = panels(replace(three, results=results))["score-overall"].x
    assert axis.categories == ("paradigm1", "paradigm2", "paradigm3")


def test_long_names_are_numbers_on_the_axis_and_whole_in_the_legend(three: StudyReport) -> None:
    results = tuple(replace(r, params={"rl.kl_coef": 0.01 * r.number, "actor/merge": "linear"}) for r in three.results)
    study = replace(three, results=results)
    assert panels(study)["score-overall"].x.categories == ("#0", "#1", "#2")
    assert [entry.label for entry in legend(study).entries][1] == "#1 rl.kl_coef=0.01, actor/merge=linear"
    assert _cut("a" * 20 + "$" + "b" * 20, 13) == "aaaaa...bbbbb"
    assert _cut("cost $5", 13) == r"cost \$5"


def test_curves_have_marks_where_faults_began_and_ended(three: StudyReport) -> None:
    shown = panels(three)
    marks = [(t.symbol, t.x) for t in shown["objective-scores"].traces if t.kind == "dots"]
    assert marks == [("cross", (3,)), ("triangle", (14,))]
    lines = [t for t in shown["objective-scores"].traces if t.kind == "line" and t.width > 1]
    assert [(line.width, line.dash) for line in lines] == [(3.5, DASHES[0]), (2, DASHES[1]), (2, DASHES[2])]
    assert "policy-entropy_avg" not in shown


def test_more_of_the_telemetry_is_shown_where_it_is_there(three: StudyReport) -> None:
    metrics = {"policy/entropy_avg": 0.5, "completions/repetition_ratio": 0.1, "critic/vf_explained_var": 0.9}
    results = tuple(replace(r, telemetry=steps(9, **metrics)) for r in three.results)
    fault = replace(verdict("repetition", "suspected", 4), recovery=None)
    noisy = replace(results[0], diagnosis=replace(results[0].diagnosis, verdicts=(fault,)))
    shown = {f.key: f for f in gallery(replace(three, results=(noisy, *results[1:])))}
    assert [panel.title for panel in shown["dynamics"].panels] == ["Entropy", "Repetition", "Critic"]
    repetition = shown["dynamics"].panels[1]
    assert [(t.symbol, t.x, t.y) for t in repetition.traces if t.kind == "dots"] == [
        ("open cross", (4,), (pytest.approx(0.1),))
    ]


def test_running_trials_are_lines_without_a_score(three: StudyReport) -> None:
    running = replace(realistic(3, 0.7, skill=0.5), telemetry=realistic(3, 0.7, skill=0.5).telemetry[:8])
    study = replace(three, running=(replace(running, report=trial(9).report),), pending=(3,))
    assert [point.alpha for point in study.points] == [0.1, 0.5, 0.7, 0.9]
    assert len(study.finished) == 3
    line = next(t for t in panels(study)["objective-kl"].traces if t.name == "alpha=0.7" and t.kind == "line")
    assert (line.opacity, line.x) == (0.5, tuple(range(1, 9)))
    assert len(dots(panels(study)["score-overall"])) == 3


def test_a_mean_curve_is_over_the_steps_that_all_seeds_have() -> None:
    one, other = (
        trial(k, telemetry=[StepTelemetry(s, {"objective/kl": 10.0 * k + s}) for s in range(1, 4 + k)]) for k in (0, 1)
    )
    at, values = mean_series([one, other], "objective/kl")
    assert at.tolist() == [1, 2, 3]
    alone = [mean_series([result], "objective/kl")[1][:3] for result in (one, other)]
    assert values == pytest.approx(np.mean(alone, axis=0))


def test_long_runs_are_thinned_and_keep_their_end() -> None:
    at = np.arange(1.0, 3001.0)
    kept, values = thinned(at, at**2)
    assert len(kept) <= DRAWN
    assert (kept[0], kept[-1], values[-1]) == (1.0, 3000.0, 3000.0**2)


def test_many_points_are_a_selection_on_a_scale() -> None:
    results = tuple(realistic(k, k / 199, skill=0.6) for k in range(200))
    study = study_of(results, winner=77)
    chosen = [point.first.number for point in drawn(study)]
    assert len(chosen) == MOST
    assert {0, 77, 199} <= set(chosen)
    assert left_out(study).startswith(f"{MOST} of 200 points are drawn")
    colours = legend(study)
    assert colours.entries == ()
    assert colours.ends == ("alpha 0", "1")
    assert len(set(colours.slots["light"])) > 150
    data = plot(panels(study)["score-overall"])
    assert len(data["traces"]) < 5  # the dots in one go
    assert sum(len(trace["x"]) for trace in data["traces"] if trace.get("mode") == "markers") == 200


def test_colours_of_many_ratios_follow_alpha() -> None:
    alphas = [0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 1.0]
    colours = legend(study_of([realistic(k, a, skill=0.6) for k, a in enumerate(alphas)])).slots["light"]
    reds = [int(colour[1:3], 16) for colour in colours]
    assert reds[7] - reds[0] < 0.2 * (reds[8] - reds[0])


# --- trade-offs -----------------------------------------------------------------------------------------------------


def test_the_front_is_what_nobody_beats() -> None:
    pairs = [(1.0, 5.0), (2.0, 6.0), (2.0, 5.5), (3.0, 6.0), (0.5, 1.0), (1.0, 5.0)]
    assert front(pairs, ("minimize", "maximize")) == [0, 1, 4, 5]
    assert front(pairs, ("maximize", "maximize")) == [3]


def test_score_against_stability_has_the_front(three: StudyReport) -> None:
    panel = panels(three)["tradeoff-stability"]
    line = next(trace for trace in panel.traces if trace.name == "front") if len(panel.traces) > 3 else None
    severity = [max(v.severity for v in r.diagnosis.verdicts) for r in three.results]
    assert sorted(trace.x[0] for trace in dots(panel)) == sorted(severity)
    overall = [r.report.overall for r in three.results]
    best = front(list(zip(severity, overall, strict=True)), ("minimize", "maximize"))
    assert (line is not None) == (len(best) > 1)
    kl = panels(three)["tradeoff-kl"]
    assert sorted(t.x[0] for t in dots(kl)) == sorted(r.diagnosis.final_kl for r in three.results)


def test_a_study_of_several_objectives_shows_them(three: StudyReport) -> None:
    objectives = (("eval/arena", "maximize"), ("seconds/ppo", "minimize"))
    panel = panels(replace(three, objectives=objectives))["tradeoff-objective-1"]
    assert [trace.x for trace in dots(panel)] == [(55.0,)] * 3
    arena = [r.metrics()["eval/arena"] for r in three.results]
    assert [trace.y[0] for trace in dots(panel)] == pytest.approx(arena)
    shown_already = (("eval/overall", "maximize"), ("objective/final_kl", "minimize"))
    assert "tradeoff-objective-1" not in panels(replace(three, objectives=shown_already))


def test_a_trajectory_goes_from_start_to_end(three: StudyReport) -> None:
    traces = panels(three)["kl-reward"].traces
    names = [name for alpha in ("0.1", "0.5", "0.9") for name in (f"alpha={alpha}", "start", "end")]
    assert [trace.name for trace in traces] == names
    line, start, end = traces[:3]
    assert (line.x[0], line.y[0], line.x[-1], line.y[-1]) == (start.x[0], start.y[0], end.x[0], end.y[0])
    assert end.labels == ("0.1",)


# --- geometry and cost ----------------------------------------------------------------------------------------------


def test_geometry_is_shown_by_ratio_and_by_layer(three: StudyReport) -> None:
    shown = panels(replace(three, geometry={0: GEOMETRY, 2: GEOMETRY}))
    distance = shown["geometry-distance"]
    assert [(trace.x, trace.y) for trace in dots(distance)] == [((0.1,), (0.15,)), ((0.9,), (0.15,))]
    assert {t.name: t.y for t in distance.traces if t.kind == "line"} == {
        "instruct": (0.2, 0.2),
        "distilled": (0.4, 0.4),
    }
    assert {t.name: t.y for t in shown["geometry-angle"].traces if t.kind == "line"} == {
        "instruct": (0.8, 0.8),
        "distilled": (0.9, 0.9),
    }
    layers = shown["geometry-layers"].traces[0]
    assert (layers.x, layers.y) == (("embeddings", "0", "1"), (0.1, pytest.approx(0.15), 0.2))
    between = {trace.name: trace.y for trace in shown["geometry-conflict"].traces}
    assert between == {
        "instruct, distilled: cosine": (0.5, 0.5, 0.5),
        "instruct, distilled: signs that differ": (0.3, 0.3, 0.3),
    }


def test_without_geometry_the_recipes_weights_are_shown(three: StudyReport) -> None:
    panel = panels(three)["merge-weights"]
    weights = {trace.name: trace.y for trace in panel.traces}
    assert weights["base"] == (0.1, 0.5, 0.9)
    assert weights["instruct"] == pytest.approx((0.45, 0.25, 0.05))


def test_cost_splits_ppo_and_counts_tokens() -> None:
    telemetry = steps(4, **{"seconds/rollout": 3.0, "seconds/training": 2.0, "completions/mean_length": 50.0})
    result = replace(
        trial(0, {"alpha": 0.1}), telemetry=telemetry, seconds={"merge": 1.0, "ppo": 25.0, "evaluation": 4.0}
    )
    assert seconds_of(result) == {
        "merge": 1.0, "PPO: rollout": 12.0, "PPO: training": 8.0, "PPO: other": 5.0, "evaluation": 4.0,
    }  # fmt: skip
    assert tokens_of(result) == 4 * 32 * 50
    other = replace(result, number=1, params={"alpha": 0.5})
    table = cost_table(study_of([result, other], spans={0: (1000.0, 1030.0), 1: (1010.0, 1100.0)}))
    assert table is not None
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["PPO: rollout"] == ("24 s", "40 %")
    assert rows["all 2 finished trials"] == ("60 s", "100 %")
    assert rows["tokens in training"][0] == "12,800"
    assert rows["tokens a second of PPO"][0] == "256"
    assert rows["on the clock, first to last trial"][0] == "100 s"
    speed = panels(study_of([result, other]))["cost-speed"].traces[0]
    assert speed.y == (256.0, 256.0)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.84, "0.8 s"), (42.4, "42 s"), (200.0, "3 min 20 s"), (18600.0, "5 h 10 min")]
)
def test_durations_are_read_at_once(seconds: float, words: str) -> None:
    assert duration(seconds) == words
