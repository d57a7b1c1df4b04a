"""The records: arithmetic checked by hand, and what is saved comes back."""

import math
from pathlib import Path

import pytest

from bai_sweep.records import (
    Diagnosis,
    EvalReport,
    MergeRecipe,
    Score,
    StepTelemetry,
    TrialResult,
    Verdict,
)


def result() -> TrialResult:
    return TrialResult(
        number=2,
        params={"alpha": 0.5, "weights": {"instruct": 0.5, "distilled": 0.5}},
        seed=3,
        recipe=MergeRecipe({"base": 0.5, "instruct": 0.5}, {"base": "a", "instruct": "b"}),
        telemetry=(StepTelemetry(1, {"objective/kl": 0.25}), StepTelemetry(2, {"objective/kl": math.nan})),
        diagnosis=Diagnosis((Verdict("length_collapse", "certain", 0.6, 4, None, "why"),), 1.5, 0.4),
        report=EvalReport((Score("a", 60.0, 3.0, 2, "acc", (100.0, 20.0)), Score("b", 40.0, 4.0, 1, "acc", (40.0,)))),
        seconds={"merge": 0.5},
        run_id="abc",
    )


def test_overall_is_the_plain_mean_with_its_error() -> None:
    report = result().report

    assert report.overall == 50.0
    assert report.overall_stderr == pytest.approx(2.5)  # sqrt(3^2 + 4^2) / 2


def test_a_missing_benchmark_leaves_no_overall() -> None:
    report = EvalReport(result().report.scores, {"arenahard": "no judge"})

    assert math.isnan(report.overall)
    assert math.isnan(report.overall_stderr)


def test_the_papers_table_1_means() -> None:
    bai = [70.2, 82.7, 40.6, 44.9, 50.8, 35.9, 21.3, 81.0, 69.3]
    report = EvalReport(tuple(Score(str(i), value, 0.0, 1, "acc") for i, value in enumerate(bai)))

    assert report.overall == pytest.approx(55.2, abs=0.05)


def test_metrics_leave_nan_out() -> None:
    metrics = result().metrics()

    assert metrics["eval/overall"] == 50.0
    assert metrics["stability/length_collapse/severity"] == 0.6
    assert metrics["seconds/merge"] == 0.5
    assert not any(math.isnan(value) for value in metrics.values())


def test_a_saved_result_comes_back_whole(tmp_path: Path) -> None:
    saved = result()

    loaded = TrialResult.load(saved.save(tmp_path).parent)

    assert math.isnan(loaded.telemetry[1].metrics["objective/kl"])
    assert loaded.telemetry[0] == saved.telemetry[0]
    for field in ["number", "params", "seed", "recipe", "diagnosis", "report", "seconds", "run_id"]:
        assert getattr(loaded, field) == getattr(saved, field), field
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_worst_and_summary() -> None:
    calm = Verdict("kl_blow_up", "none", 0.0, None, None, "")
    doubtful = Verdict("reward_hockey_stick", "suspected", 0.2, 3, 9, "")

    assert Diagnosis((calm,)).summary() == "stable"
    assert Diagnosis((calm, doubtful)).worst == "suspected"
    assert Diagnosis((calm, doubtful)).summary() == "reward_hockey_stick (suspected)"
    assert Diagnosis().worst == "none"
