"""Agreement between verdicts, against hand computation and SciPy."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from bai_sweep.scoring.arenahard import agreement_rate, cohens_kappa, wilson_interval


def test_agreement_and_kappa_of_a_table_by_hand() -> None:
    # 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: p_o = 0.7, p_e = 0.5 * 0.6 + 0.5 * 0.4 = 0.5
    one = ["yes"] * 25 + ["no"] * 25
    other = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert agreement_rate(one, other) == pytest.approx(0.7)
    assert cohens_kappa(one, other) == pytest.approx(0.4)


def test_kappa_has_no_value_where_chance_explains_all() -> None:
    assert math.isnan(cohens_kappa(["a", "a"], ["a", "a"]))
    assert math.isnan(cohens_kappa([], []))
    assert math.isnan(agreement_rate([], []))


def test_judges_of_different_cases_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="zip"):
        agreement_rate(["a"], ["a", "b"])


@given(trials=st.integers(1, 2000), share=st.floats(0, 1))
def test_the_interval_is_wilsons(trials: int, share: float) -> None:
    successes = round(share * trials)
    expected = binomtest(successes, trials).proportion_ci(method="wilson")
    assert wilson_interval(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_no_trials_no_interval() -> None:
    assert all(map(math.isnan, wilson_interval(0, 0)))
