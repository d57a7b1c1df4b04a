"""The replay against cases small enough to follow."""

from __future__ import annotations

import math
from collections.abc import Sequence

import optuna
import pytest
from planning_configs import config

from bai_sweep.planning._curves import Curve, curve_of
from bai_sweep.planning._pruners import Saving, compares_steps, configured_pruners, replay
from bai_sweep.planning._savings import Ending, rules_of, savings_of
from bai_sweep.records import Diagnosis, Level, StepTelemetry, Verdict
from tests.synthetic import series

MEDIAN = {"_target_": "optuna.pruners.MedianPruner", "n_startup_trials": 2, "n_warmup_steps": 0}
STABILITY = config().stability


def _flat(value: float, steps: int = 10, collapsed: int | None = None) -> Curve:
    return Curve((value,) * steps, collapsed)


def _steps(values: Sequence[float], metric: str = "objective/scores") -> list[StepTelemetry]:
    others = {"completions/mean_length": 50.0, "objective/scores": 0.0, "objective/kl": 0.0}
    return [StepTelemetry(k, {**others, metric: value}) for k, value in enumerate(values, 1)]


def _curve(trial: Sequence[StepTelemetry], metric: str = "objective/scores", *, patience: int = 3) -> Curve:
    detectors = ("length_collapse",)
    return curve_of(trial, metric, window=5, detectors=detectors, patience=patience, stability=STABILITY)


def test_what_is_reported_is_a_trailing_mean() -> None:
    curve = _curve(_steps([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
    assert curve.values == pytest.approx((1.0, 1.5, 2.0, 2.5, 3.0, 4.0))
    assert (curve.final, curve.steps, curve.collapsed) == (pytest.approx(4.0), 6, None)


def test_a_metric_that_is_not_there_is_not_reported() -> None:
    curve = _curve(_steps([1.0] * 6), "policy/clipfrac_avg")
    assert all(math.isnan(value) for value in curve.values)
    assert math.isnan(curve.final)
    rows = replay([curve] * 5, {"median": MEDIAN})
    assert rows == (Saving("median", 0.0, 0.0, 0.0, 0.0),)


def test_a_collapse_ends_a_trial_once_it_was_certain_for_as_many_steps() -> None:
    lengths = [100.0] * 4 + [20.0] * 30
    ends = [_curve(_steps(lengths, "completions/mean_length"), patience=patience).collapsed for patience in (1, 3)]

    # the median of 5 steps falls at step 7, and is certain when it has been low for 10
    assert ends == [16, 18]
    assert _curve(_steps([100.0] * 34, "completions/mean_length")).collapsed is None


def test_the_steps_are_counted_anew_after_one_that_is_not_certain(monkeypatch: pytest.MonkeyPatch) -> None:
    levels: list[Level] = ["certain", "certain", "suspected", "certain", "certain", "certain", "none"]

    def scripted(telemetry: Sequence[StepTelemetry], _config: object, *, steps: int) -> Diagnosis:
        assert steps == len(levels)  # of the whole run
        return Diagnosis((Verdict("length_collapse", levels[len(telemetry) - 1], 0.5, 1, None, "invented"),))

    monkeypatch.setattr("bai_sweep.planning._curves.diagnose", scripted)
    ends = [_curve(_steps([0.0] * len(levels)), patience=patience).collapsed for patience in (2, 3, 4)]
    assert ends == [2, 6, None]


def test_the_median_rule_is_followed_by_hand() -> None:
    """Of 5 flat curves, from the third on, one that is below the median of those before ends at its first step."""
    curves = [_flat(float(value)) for value in (5, 4, 3, 2, 1)]
    (row,) = replay(curves, {"median": MEDIAN}, orders=1, seed=3)
    (order,) = _orders(5, 1, seed=3)
    ran, done = 0, []
    for k in order:
        value = curves[k].final
        middle = sorted(done)[len(done) // 2] if len(done) % 2 else sum(sorted(done)[len(done) // 2 - 1 :][:2]) / 2
        if len(done) >= 2 and value < middle:
            ran += 1
            continue
        ran += 10
        done.append(value)
    assert row.saved == row.least == row.most == pytest.approx(1 - ran / 50)
    assert 0 < row.saved < 1


def _orders(trials: int, orders: int, seed: int) -> list[list[int]]:
    import random

    rng = random.Random(seed)
    return [rng.sample(range(trials), trials) for _ in range(orders)]


def test_the_best_of_flat_curves_is_never_ended_and_the_worst_is_most_often() -> None:
    curves = [_flat(float(value)) for value in range(6)]
    (best,) = replay(curves, {"median": MEDIAN})
    (worst,) = replay(curves, {"median": MEDIAN}, direction="minimize")
    assert best.best_stopped == worst.best_stopped == 0.0
    assert best.least < best.saved < best.most


def test_a_late_bloomer_that_is_best_at_the_end_is_told_as_lost() -> None:
    late = Curve((0.0,) * 5 + (9.0,) * 5, None)
    (row,) = replay([_flat(1.0), _flat(2.0), _flat(3.0), late], {"median": MEDIAN}, orders=40)
    after_two = sum(order.index(3) >= 2 for order in _orders(4, 40, seed=0))
    assert row.best_stopped == after_two / 40


def test_a_trial_that_is_ended_after_its_last_step_saved_nothing_and_is_lost() -> None:
    (row,) = replay([_flat(1.0, collapsed=10)] * 4, {"rule": None}, collapse=["rule"])
    assert (row.saved, row.best_stopped) == (0.0, 1.0)


def test_the_collapse_rule_does_not_depend_on_the_order() -> None:
    curves = [_flat(1.0, collapsed=4), _flat(2.0), _flat(3.0), _flat(4.0, collapsed=7)]
    alone, both = replay(curves, {"alone": None, "both": MEDIAN}, collapse=["alone", "both"])
    assert alone == Saving("alone", pytest.approx(9 / 40), pytest.approx(9 / 40), pytest.approx(9 / 40), 1.0)
    assert both.least >= alone.least
    (without,) = replay(curves, {"without": None}, collapse=["another"])
    assert without.saved == 0.0


def test_fewer_than_four_trials_tell_nothing() -> None:
    assert replay([_flat(1.0)] * 3, {"median": MEDIAN}) == ()
    assert len(replay([_flat(1.0)] * 4, {"median": MEDIAN})) == 1


def test_the_same_seed_gives_the_same_rows_and_optuna_keeps_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    curves = [_curve(series(20, collapse=False, seed=k)) for k in range(5)]
    before = optuna.logging.get_verbosity()
    rules = {name: settings for name, settings in configured_pruners(20).items() if name != "none"}
    assert replay(curves, rules, orders=4, seed=1) == replay(curves, rules, orders=4, seed=1)
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == before


def test_the_pruners_of_conf_that_compare_steps_are_replayed() -> None:
    rules = configured_pruners(70)
    assert list(rules) == ["none", "halving", "hyperband", "median", "percentile"]
    hyperband = rules["hyperband"]
    assert hyperband is not None
    assert hyperband["max_resource"] == 70
    assert not compares_steps({"_target_": "optuna.pruners.WilcoxonPruner"})


TELEMETRY = [series(20, collapse=k == 0, seed=k) for k in range(4)]


MEDIAN_OF_CONF = dict(configured_pruners(20)["median"] or {})
ALONE = "collapse (length_collapse, kl_blow_up)"


@pytest.mark.parametrize(
    ("pruner", "collapse", "own", "collapsing"),
    [
        (None, [], "none", [ALONE]),
        ({"_target_": "optuna.pruners.NopPruner"}, [], "none", [ALONE]),
        (MEDIAN_OF_CONF, [], "median", [ALONE]),
        (MEDIAN, [], "this pruner", [ALONE]),
        (None, ["kl_blow_up"], "collapse (kl_blow_up)", ["collapse (kl_blow_up)"]),
        (MEDIAN_OF_CONF, ["kl_blow_up"], "median and collapse", ["collapse (kl_blow_up)", "median and collapse"]),
        ({"_target_": "optuna.pruners.WilcoxonPruner"}, [], "", [ALONE]),
    ],
)
def test_the_studys_own_choice_is_named(
    pruner: dict[str, object] | None, collapse: list[str], own: str, collapsing: list[str]
) -> None:
    rules = rules_of(20, pruner, collapse, by_step=True)
    assert (rules.own, list(rules.collapsing)) == (own, collapsing)
    assert not own or own in rules.pruners
    assert {"none", "median", "percentile", "halving", "hyperband"} <= rules.pruners.keys()


def test_every_rule_has_a_row() -> None:
    savings = savings_of(TELEMETRY, config("rl.steps=20"), Ending(collapse=["kl_blow_up"]))
    assert [row.rule for row in savings.rows] == list(rules_of(20, None, ["kl_blow_up"], by_step=True).pruners)
    assert savings.chosen == "collapse (kl_blow_up)"
    assert savings.note == "4 earlier trials replayed in 20 random orders on objective/scores, mean of 5 steps"


def test_a_metric_of_the_evaluation_is_told_not_to_be_replayed() -> None:
    ending = Ending(metric="eval/overall", pruner=dict(configured_pruners(20)["median"] or {}))
    savings = savings_of(TELEMETRY, config("rl.steps=20"), ending)
    assert savings.chosen == ""
    assert "eval/overall is no metric of PPO's steps" in savings.note
    assert savings.rows


def test_with_few_trials_the_note_says_so_and_nothing_is_invented() -> None:
    savings = savings_of(TELEMETRY[:3], config(), Ending())
    assert savings.rows == ()
    assert savings.note == "nothing to replay: 3 earlier trials like these, and 4 are the fewest that tell"
