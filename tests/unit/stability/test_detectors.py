"""The detectors on series whose right verdict is known by construction."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bai_sweep.config import HockeyStickConfig, KLBlowUpConfig, LengthCollapseConfig, StabilityConfig
from bai_sweep.records import StepTelemetry
from bai_sweep.stability import diagnose, kl_blow_up, length_collapse, reward_hockey_stick
from bai_sweep.stability._series import noise, onset_before, trailing_mean

LENGTH = LengthCollapseConfig(
    baseline=3,
    window=5,
    early_fraction=0.5,
    suspected_drop=0.25,
    certain_drop=0.4,
    recovery_level=0.9,
    min_standard_errors=3.0,
)
REWARD = HockeyStickConfig(baseline=3, window=5, early_fraction=0.5, suspected_dip=3.0, certain_dip=4.5)
KL = KLBlowUpConfig(window=5, suspected=20.0, certain=50.0)


def noisy(levels: list[float], deviation: float, seed: int = 0) -> list[float]:
    return (np.array(levels) + np.random.default_rng(seed).normal(0.0, deviation, len(levels))).tolist()


class TestLengthCollapse:
    def test_a_fall_that_stays_is_certain_with_its_size_and_onset(self) -> None:
        series = [100.0] * 10 + [40.0] * 40

        verdict = length_collapse(series, LENGTH)

        assert verdict.level == "certain"
        assert verdict.severity == pytest.approx(0.6)
        assert verdict.onset == 11
        assert verdict.recovery is None
        assert "100.0 to 40.0" in verdict.reason

    def test_the_papers_figure_3a_and_3b(self) -> None:
        collapse = noisy(list(np.concatenate([np.linspace(900, 350, 15), np.full(45, 360.0)])), 25.0)
        growth = noisy(list(np.linspace(700, 1200, 60)), 25.0)

        assert length_collapse(collapse, LENGTH).level == "certain"
        assert length_collapse(growth, LENGTH).level == "none"

    def test_a_dip_that_recovers_is_only_suspected(self) -> None:
        verdict = length_collapse([100.0] * 8 + [50.0] * 8 + [98.0] * 34, LENGTH)

        assert verdict.level == "suspected"
        # the trailing mean of five is back at 90 when four of its steps have recovered plus one at the old level
        assert verdict.recovery == 21

    def test_a_late_fall_is_only_suspected(self) -> None:
        assert length_collapse([100.0] * 40 + [40.0] * 10, LENGTH).level == "suspected"

    def test_a_late_fall_after_a_dip_that_recovered_is_dated_by_the_fall(self) -> None:
        verdict = length_collapse([100.0] * 6 + [70.0] * 6 + [100.0] * 30 + [40.0] * 8, LENGTH)

        assert verdict.level == "suspected"
        assert verdict.onset == 43

    def test_a_drop_within_the_noise_is_none(self) -> None:
        healthy = [length_collapse(noisy([60.0] * 50, 25.0, seed), LENGTH).level for seed in range(50)]

        assert healthy.count("none") >= 48

    def test_too_few_steps_say_so(self) -> None:
        verdict = length_collapse([100.0, 10.0, 10.0], LENGTH)

        assert verdict.level == "none"
        assert "3 steps are too few" in verdict.reason

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
        assert kl_blow_up([1.0] * 20 + [60.0] + [1.0] * 20, KL).level == "none"

    def test_onset_is_where_the_windowed_mean_crosses(self) -> None:
        verdict = kl_blow_up([0.0] * 10 + [100.0] * 10, KL)

        assert verdict.onset == 11
        assert verdict.recovery is None


class TestDiagnose:
    CONFIG = StabilityConfig(name="default", length_collapse=LENGTH, reward_hockey_stick=REWARD, kl_blow_up=KL)

    @staticmethod
    def telemetry(lengths: list[float]) -> list[StepTelemetry]:
        return [
            StepTelemetry(
                step, {"completions/mean_length": length, "objective/scores": 0.1 * step, "objective/kl": 0.5 * step}
            )
            for step, length in enumerate(lengths, start=1)
        ]

    def test_collects_verdicts_final_kl_and_length_ratio(self) -> None:
        diagnosis = diagnose(self.telemetry([100.0] * 5 + [40.0] * 15), self.CONFIG)

        assert [v.detector for v in diagnosis.verdicts] == ["length_collapse", "reward_hockey_stick", "kl_blow_up"]
        assert diagnosis.worst == "certain"
        assert diagnosis.summary() == "length_collapse (certain)"
        assert diagnosis.final_kl == pytest.approx(9.0)  # mean of 8.0, 8.5, ..., 10.0
        assert diagnosis.length_ratio == pytest.approx(0.4)

    def test_a_trial_without_rl_has_no_verdict(self) -> None:
        diagnosis = diagnose([], self.CONFIG)

        assert diagnosis.summary() == "stable"
        assert np.isnan(diagnosis.final_kl)


class TestSeries:
    def test_trailing_mean_against_a_loop(self) -> None:
        values = np.random.default_rng(1).normal(size=23)

        expected = [values[max(0, t - 4) : t + 1].mean() for t in range(23)]

        np.testing.assert_allclose(trailing_mean(values, 5), expected, atol=1e-12)

    def test_noise_recovers_the_deviation_under_a_trend(self) -> None:
        values = np.linspace(0, 10, 2000) + np.random.default_rng(2).normal(0, 0.7, 2000)

        assert noise(values) == pytest.approx(0.7, rel=0.06)

    def test_onset_is_the_step_after_the_last_high_value(self) -> None:
        assert onset_before(np.array([10.0, 10.0, 9.0, 6.0, 5.0]), crossing=3, near_start=9.5) == 3
