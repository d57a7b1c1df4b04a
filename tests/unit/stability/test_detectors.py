"""The detectors on series whose right verdict is known by construction."""

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bai_sweep.config import DipConfig, LevelConfig, ShiftConfig, StabilityConfig
from bai_sweep.records import StepTelemetry, Verdict
from bai_sweep.sources import packaged_dir
from bai_sweep.stability import (
    METRICS,
    critic_failure,
    diagnose,
    entropy_collapse,
    kl_blow_up,
    length_collapse,
    repetition,
    reward_hockey_stick,
    truncation_runaway,
)
from bai_sweep.stability._series import noise, onset_before, standard_error, trailing_median

CONFIG = StabilityConfig.model_validate(
    yaml.safe_load((packaged_dir("conf") / "stability" / "default.yaml").read_text(encoding="utf-8"))
)
LENGTH, REWARD, KL = CONFIG.length_collapse, CONFIG.reward_hockey_stick, CONFIG.kl_blow_up


def noisy(levels: list[float], deviation: float, seed: int = 0) -> list[float]:
    return (np.array(levels) + np.random.default_rng(seed).normal(0.0, deviation, len(levels))).tolist()


class TestLengthCollapse:
    def test_a_fall_that_stays_is_certain_with_its_size_and_onset(self) -> None:
        series = [100.0] * 10 + [40.0] * 40

        verdict = length_collapse(series, LENGTH)

        assert verdict.level == "certain"
        assert verdict.severity == pytest.approx(0.6)
        assert verdict.onset == 13  # the median of five is below half of it from its third step on
        assert verdict.recovery is None
        assert verdict.reason == "from 100 to 40 tokens by step 13 (-60%), not recovered"

    def test_the_papers_figure_3a_and_3b(self) -> None:
        collapse = noisy(list(np.concatenate([np.linspace(900, 350, 15), np.full(45, 360.0)])), 25.0)
        growth = noisy(list(np.linspace(700, 1200, 60)), 25.0)

        assert length_collapse(collapse, LENGTH).level == "certain"
        assert length_collapse(growth, LENGTH).level == "none"

    def test_a_dip_that_recovers_is_only_suspected(self) -> None:
        verdict = length_collapse([100.0] * 8 + [50.0] * 8 + [98.0] * 34, LENGTH)

        assert (verdict.level, verdict.onset) == ("suspected", 11)  # the median of five falls at the third of eight
        assert verdict.recovery == 19  # three of the last five steps are back

    def test_a_late_fall_is_only_suspected(self) -> None:
        assert length_collapse([100.0] * 40 + [40.0] * 10, LENGTH).level == "suspected"

    def test_a_late_fall_after_a_dip_that_recovered_is_dated_by_the_fall(self) -> None:
        verdict = length_collapse([100.0] * 6 + [70.0] * 6 + [100.0] * 30 + [40.0] * 8, LENGTH)

        assert (verdict.level, verdict.onset) == ("suspected", 45)

    def test_a_drop_within_the_noise_is_none(self) -> None:
        healthy = [length_collapse(noisy([60.0] * 50, 25.0, seed), LENGTH).level for seed in range(50)]

        assert healthy.count("none") >= 48

    def test_too_few_steps_say_so(self) -> None:
        verdict = length_collapse([100.0, 10.0, 10.0], LENGTH)

        assert (verdict.level, verdict.reason) == ("none", "3 steps are too few to tell (7 needed)")
        assert length_collapse([100.0] * 4 + [10.0] * 3, LENGTH).level == "suspected"

    def test_a_fall_is_certain_once_it_has_lasted(self) -> None:
        levels = [length_collapse([100.0] * 10 + [40.0] * n, LENGTH, 50).level for n in range(1, 20)]

        # the median of five sees it at the third step, from which on it has to last ten steps
        assert levels == ["none"] * 2 + ["suspected"] * 9 + ["certain"] * 8

    def test_single_outliers_are_no_fall(self) -> None:
        series = [100.0] * 50
        for step in (1, 2, 11, 12, 30):
            series[step] = 20.0

        assert length_collapse(series, LENGTH).level == "none"
        assert length_collapse([100.0, 400.0, 100.0, 100.0] + [100.0] * 40, LENGTH).level == "none"

    def test_what_starts_at_zero_cannot_fall(self) -> None:
        assert length_collapse([0.0] * 20, LENGTH).reason == "starts at 0 tokens, from which nothing can fall"

    @given(seed=st.integers(0, 10_000), scale=st.floats(0.1, 1000.0))
    @settings(max_examples=50, deadline=None)
    def test_the_verdict_does_not_depend_on_the_unit(self, seed: int, scale: float) -> None:
        series = noisy(list(np.linspace(100, 45, 40)), 6.0, seed)

        plain, scaled = length_collapse(series, LENGTH), length_collapse([scale * x for x in series], LENGTH)

        assert (plain.level, plain.onset, plain.recovery) == (scaled.level, scaled.onset, scaled.recovery)
        assert plain.severity == pytest.approx(scaled.severity, abs=1e-9)


class TestRewardHockeyStick:
    def test_a_dip_before_a_climb_is_certain(self) -> None:
        shape = np.concatenate([np.full(4, 0.4), np.full(10, 0.0), np.linspace(0.0, 0.8, 36)])

        verdict = reward_hockey_stick(noisy(list(shape), 0.05), REWARD)

        assert verdict.level == "certain"
        assert verdict.severity == pytest.approx(0.5, abs=0.1)  # a dip of 0.4 before a climb of 0.8
        assert verdict.onset is not None
        assert 4 <= verdict.onset <= 8
        assert verdict.recovery is not None

    def test_a_steady_climb_is_none(self) -> None:
        levels = [
            reward_hockey_stick(noisy(list(np.linspace(0, 0.8, 50)), 0.08, seed), REWARD).level for seed in range(50)
        ]

        assert levels.count("none") >= 48

    def test_a_flat_noisy_reward_is_hardly_ever_a_dip(self) -> None:
        levels = [reward_hockey_stick(noisy([0.3] * 50, 0.1, seed), REWARD).level for seed in range(100)]

        assert levels.count("certain") <= 5

    @pytest.mark.parametrize("level", [0.1, 0.3, 0.7, -1.0])
    def test_a_constant_reward_has_no_dip(self, level: float) -> None:
        assert reward_hockey_stick([level] * 50, REWARD).level == "none"

    @pytest.mark.parametrize("rate", [0.02, 0.98])
    def test_a_sparse_or_saturated_reward_is_hardly_ever_a_dip(self, rate: float) -> None:
        draws = np.random.default_rng(5).binomial(32, rate, size=(200, 50)) / 32

        levels = [reward_hockey_stick(series.tolist(), REWARD).level for series in draws]

        assert levels.count("certain") <= 4

    def test_a_fall_without_recovery_is_said(self) -> None:
        verdict = reward_hockey_stick(noisy([0.5] * 5 + [-0.5] * 45, 0.02), REWARD)

        assert verdict.level == "certain"
        assert verdict.recovery is None
        assert verdict.severity == pytest.approx(1.0, abs=0.05)


class TestKLBlowUp:
    @pytest.mark.parametrize(("peak", "level"), [(5.0, "none"), (30.0, "suspected"), (80.0, "certain")])
    def test_levels(self, peak: float, level: str) -> None:
        assert kl_blow_up([0.1] * 20 + [peak] * 20, KL).level == level

    def test_one_outlier_does_not_count(self) -> None:
        assert kl_blow_up([1.0] * 20 + [6000.0] + [1.0] * 20, KL).level == "none"

    def test_onset_is_where_the_median_crosses_and_recovery_where_it_is_back(self) -> None:
        verdict = kl_blow_up([0.0] * 10 + [100.0] * 10, KL)
        assert (verdict.onset, verdict.recovery, verdict.severity) == (13, None, 1.0)

        back = kl_blow_up([0.0] * 10 + [30.0] * 10 + [0.0] * 10, KL)
        assert (back.onset, back.recovery, back.severity) == (13, 23, 0.6)

    def test_a_run_that_begins_beyond_the_budget(self) -> None:
        assert kl_blow_up([60.0] * 2, KL).level == "none"
        assert (kl_blow_up([60.0] * 3, KL).level, kl_blow_up([60.0] * 3, KL).onset) == ("certain", 3)


class TestEntropyCollapse:
    def test_half_of_the_entropy_may_go(self) -> None:
        assert entropy_collapse(list(np.geomspace(0.3, 0.12, 50)), CONFIG.entropy_collapse).level == "none"

    def test_a_deterministic_policy_is_a_collapse_at_any_time(self) -> None:
        verdict = entropy_collapse([0.3] * 38 + [0.01] * 12, CONFIG.entropy_collapse)

        assert (verdict.level, verdict.onset) == ("certain", 41)
        assert verdict.severity == pytest.approx(1 - 0.01 / 0.3)


class TestTruncationAndRepetition:
    def test_responses_that_run_into_the_limit(self) -> None:
        ratios = [0.0] * 10 + list(np.linspace(0.0, 0.9, 20)) + [0.9] * 10

        verdict = truncation_runaway(ratios, CONFIG.truncation_runaway)

        assert verdict.level == "certain"
        assert verdict.severity == pytest.approx(0.9)
        assert verdict.reason == "from 0 to 0.9 by step 32 (+0.90), not recovered"

    def test_some_cut_off_responses_are_healthy(self) -> None:
        ratios = (np.random.default_rng(0).binomial(32, 0.1, 60) / 32).tolist()

        assert truncation_runaway(ratios, CONFIG.truncation_runaway).level == "none"

    def test_loops(self) -> None:
        assert repetition([0.05] * 10 + [0.8] * 20, CONFIG.repetition).level == "certain"
        assert repetition([0.05] * 10 + [0.33] * 20, CONFIG.repetition).level == "none"

    def test_loops_that_pass_are_suspected(self) -> None:
        verdict = repetition([0.05] * 10 + [0.8] * 15 + [0.1] * 20, CONFIG.repetition)

        assert (verdict.level, verdict.recovery) == ("suspected", 28)


class TestCriticFailure:
    def test_a_critic_may_learn_first(self) -> None:
        learns = [-2.4, -1.5, -1.0, -0.7, -0.5, -0.3, -0.1, 0.0, 0.1, 0.2]

        assert critic_failure(learns + [0.3] * 30, CONFIG.critic_failure).level == "none"
        assert critic_failure(learns, CONFIG.critic_failure).reason == "10 steps are too few to tell (13 needed)"

    def test_a_critic_that_is_worse_than_a_constant(self) -> None:
        verdict = critic_failure([-1.0] * 40, CONFIG.critic_failure)

        assert (verdict.level, verdict.onset, verdict.severity) == ("certain", 13, 1.0)

    def test_one_that_breaks_and_mends(self) -> None:
        verdict = critic_failure([0.5] * 20 + [-0.1] * 8 + [0.5] * 20, CONFIG.critic_failure)

        assert (verdict.level, verdict.onset, verdict.recovery) == ("suspected", 23, 31)

    def test_returns_without_variance_are_no_failure(self) -> None:
        assert critic_failure([0.0] * 40, CONFIG.critic_failure).level == "none"


class TestSides:
    @pytest.mark.parametrize(
        ("section", "change", "message"),
        [
            ("kl_blow_up", {"suspected": -1.0, "certain": -2.0}, "budgets are above 0 nats; got suspected=-1"),
            ("kl_blow_up", {"suspected": 0.0}, "budgets are above 0 nats; got suspected=0"),
            ("critic_failure", {"suspected": 0.1, "certain": 0.2}, "certain is below it; got certain=0.2"),
        ],
    )
    def test_levels_on_the_healthy_side_are_refused(
        self, section: str, change: dict[str, float], message: str
    ) -> None:
        values = CONFIG.model_dump()

        with pytest.raises(ValidationError, match=message):
            StabilityConfig.model_validate({**values, section: {**values[section], **change}})


class TestErrorRates:
    """Small cousins of benchmarks/detectors.py, at the noise of the testbed's lengths."""

    @staticmethod
    def alarms(shape: list[float], count: int = 60) -> list[int | None]:
        """The step of the first alarm of someone who looks after every step."""
        rng = np.random.default_rng(7)
        found = []
        for _ in range(count):
            series = (np.array(shape) * (1.0 + rng.normal(0.0, 0.12, len(shape)))).tolist()
            levels = (length_collapse(series[:end], LENGTH, len(shape)).level for end in range(1, len(shape) + 1))
            found.append(next((end for end, level in enumerate(levels, start=1) if level != "none"), None))
        return found

    def test_healthy_series_hardly_ever_alarm(self) -> None:
        healthy = self.alarms([60.0] * 50) + self.alarms(list(np.linspace(60.0, 90.0, 50)))

        assert sum(step is not None for step in healthy) <= 4  # of 120

    def test_a_fall_by_half_is_found_within_steps(self) -> None:
        found = [step for step in self.alarms([60.0] * 12 + [30.0] * 38) if step is not None]

        assert len(found) == 60
        assert np.median(found) <= 17


class TestThresholds:
    @pytest.mark.parametrize(
        ("model", "section", "change", "message"),
        [
            (
                ShiftConfig,
                "length_collapse",
                {"recovered": 0.25},
                "recovered < suspected <= certain; got 0.25, 0.2, 0.3",
            ),
            (
                ShiftConfig,
                "length_collapse",
                {"suspected": 0.5},
                "recovered < suspected <= certain; got 0.1, 0.5, 0.3",
            ),
            (LevelConfig, "kl_blow_up", {"certain": 10.0}, "certain is further from 0 than suspected"),
            (
                LevelConfig,
                "critic_failure",
                {"certain": 0.5},
                "on the same side of it; got suspected=-0.05, certain=0.5",
            ),
            (DipConfig, "reward_hockey_stick", {"baseline": True}, "a number is needed, not true or false"),
        ],
    )
    def test_those_that_contradict_each_other_are_refused(
        self, model: type[ShiftConfig], section: str, change: dict[str, float], message: str
    ) -> None:
        values = getattr(CONFIG, section).model_dump()

        with pytest.raises(ValidationError, match=message):
            model.model_validate({**values, **change})


class TestDiagnose:
    @staticmethod
    def telemetry(lengths: list[float]) -> list[StepTelemetry]:
        return [
            StepTelemetry(
                step, {"completions/mean_length": length, "objective/scores": 0.1 * step, "objective/kl": 0.5 * step}
            )
            for step, length in enumerate(lengths, start=1)
        ]

    def test_collects_verdicts_final_kl_and_length_ratio(self) -> None:
        diagnosis = diagnose(self.telemetry([100.0] * 5 + [40.0] * 15), CONFIG)

        assert [v.detector for v in diagnosis.verdicts] == list(METRICS)
        assert diagnosis.worst == "certain"
        assert diagnosis.summary() == "length_collapse (certain)"
        assert diagnosis.final_kl == pytest.approx(9.0)  # mean of 8.0, 8.5, ..., 10.0
        assert diagnosis.length_ratio == pytest.approx(0.4)

    def test_what_a_trainer_does_not_report_is_not_judged(self) -> None:
        verdicts = {v.detector: v for v in diagnose(self.telemetry([100.0] * 20), CONFIG).verdicts}

        assert verdicts["critic_failure"] == Verdict(
            "critic_failure", "none", 0.0, None, None, "critic/vf_explained_var was not reported"
        )

    def test_steps_are_those_of_the_telemetry(self) -> None:
        """A figure that some steps lack, as the critic's may be, is dated by the steps that have it."""
        telemetry = [
            StepTelemetry(t.step, {**t.metrics, **({"critic/vf_explained_var": -1.0} if t.step > 20 else {})})
            for t in self.telemetry([100.0] * 50)
        ]

        assert {v.detector: v.onset for v in diagnose(telemetry, CONFIG).verdicts}["critic_failure"] == 33

    def test_a_trial_without_rl_has_no_verdict(self) -> None:
        diagnosis = diagnose([], CONFIG)

        assert diagnosis.summary() == "stable"
        assert np.isnan(diagnosis.final_kl)


class TestSeries:
    @pytest.mark.parametrize("steps", [3, 5, 23])
    def test_trailing_median_against_a_loop(self, steps: int) -> None:
        values = np.random.default_rng(1).normal(size=steps)

        expected = [np.median(values[max(0, t - 4) : t + 1]) for t in range(steps)]

        np.testing.assert_array_equal(trailing_median(values, 5), expected)

    def test_noise_recovers_the_deviation_under_a_trend(self) -> None:
        values = np.linspace(0, 10, 2000) + np.random.default_rng(2).normal(0, 0.7, 2000)

        assert noise(values) == pytest.approx(0.7, rel=0.06)

    def test_the_standard_error_covers_differences_of_medians(self) -> None:
        draws = np.random.default_rng(3).normal(0.0, 1.0, (4000, 40))
        spread = (np.median(draws[:, :4], axis=1) - np.median(draws[:, -5:], axis=1)).std()

        errors = [standard_error(row, window=5, baseline=4) for row in draws[:400]]

        assert spread <= np.mean(errors) <= 1.25 * spread

    def test_onset_is_the_step_after_the_last_small_fall(self) -> None:
        assert onset_before(np.array([0.0, 0.0, 0.1, 0.4, 0.5]), crossing=3, near_start=0.05) == 3
