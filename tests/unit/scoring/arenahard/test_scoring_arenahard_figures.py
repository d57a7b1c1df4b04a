"""A model's figures over its items."""

import math
from concurrent.futures import Future

import numpy as np
import pytest

from bai_sweep.scoring import Item, weighted_mean
from bai_sweep.scoring.arenahard import (
    V01,
    V2,
    Protocol,
    bootstrap_win_rate,
    bt_win_rate,
    item_of,
    judge_contradiction,
    judge_disagreement,
    judge_kappa,
    null_verdicts,
    position_bias,
    position_bias_limit,
    style_controlled,
    win_rate_limit,
)

VERDICTS = [("A>B", "B>A"), ("A>>B", "A>B"), ("A=B", "B>>A"), ("B>A", "A>B"), (None, "A>B"), ("A>B", "B>A")]


def items(protocol: Protocol) -> list[Item]:
    style = {"tokens": 10, "headers": 0, "lists": 0, "bolds": 0}
    return [
        item_of(pair, protocol, style={"counter": "x", "model": style | {"tokens": 10 + 3 * i}, "baseline": style})
        for i, pair in enumerate(VERDICTS)
    ]


def pending(item: Item) -> "Future[Item]":
    future: Future[Item] = Future()
    future.set_result(item)
    return future


@pytest.mark.parametrize(("protocol", "expected"), [(V01, 4.5 / 15), (V2, 3.5 / 14)])
def test_win_rates_agree(protocol: Protocol, expected: float) -> None:
    # model's battles: 0 0 | 000 1 | .5 000 | 1 1 | (1) | 0 0
    assert weighted_mean(items(protocol)) == pytest.approx(expected)
    assert bt_win_rate(protocol)(items(protocol)) == pytest.approx(expected, abs=1e-9)


def test_v01s_interval_is_95_percent_of_ratings() -> None:
    won = np.array([0, 0, 0, 0, 0, 1, 0.5, 0, 0, 0, 1, 1, 1, 0, 0])
    generator = np.random.RandomState(42)
    means = [won[generator.randint(0, 15, 15)].mean() for _ in range(100)]
    ratings = np.log([mean / (1 - mean) for mean in means])
    low, high = 1 / (1 + np.exp(-np.percentile(ratings, [2.5, 97.5])))
    assert win_rate_limit(V01, "low")(items(V01)) == pytest.approx(low, abs=1e-8)
    assert win_rate_limit(V01, "high")(items(V01)) == pytest.approx(high, abs=1e-8)


def test_v2s_interval_is_90_percent_of_means() -> None:
    won = np.array([0, 0, 1, 0, 0, 0, 0, 0, 0, 0.5, 1, 1, 0, 0])  # game 2 first
    generator = np.random.RandomState(42)
    means = [won[generator.randint(0, 14, 14)].mean() for _ in range(100)]
    low, high = np.percentile(means, [5, 95])
    assert win_rate_limit(V2, "low")(items(V2)) == pytest.approx(low)
    assert win_rate_limit(V2, "high")(items(V2)) == pytest.approx(high)
    assert bootstrap_win_rate(items(V2)) == pytest.approx(np.mean(means))


def test_position_and_agreement() -> None:
    # winners by position: A B | A A | tie B | B A | - A | A B: 6 of 10 decided for A
    scored = items(V01)
    assert position_bias(scored) == pytest.approx(6 / 10)
    assert position_bias_limit("low")(scored) < 0.5 < position_bias_limit("high")(scored)
    # game 1 and 2 by model: baseline/baseline, baseline/model, tie/baseline, model/model, -, baseline/baseline
    assert judge_disagreement(scored) == pytest.approx(2 / 5)
    assert judge_contradiction(scored) == pytest.approx(1 / 5)
    assert judge_kappa(scored) == pytest.approx((3 / 5 - 11 / 25) / (1 - 11 / 25))
    assert null_verdicts(scored) == pytest.approx(1 / 12)


def test_a_judge_that_always_favours_the_first_is_found() -> None:
    scored = [item_of(("A>B", "A>B"), V01) for _ in range(30)]
    assert weighted_mean(scored) == 0.5
    assert position_bias(scored) == 1.0
    assert position_bias_limit("low")(scored) > 0.9
    assert judge_contradiction(scored) == 1.0


def test_items_may_be_pending() -> None:
    scored = [pending(item) for item in items(V2)]
    for figure in (
        bt_win_rate(V2),
        win_rate_limit(V2, "low"),
        position_bias,
        null_verdicts,
        style_controlled("value"),
    ):
        assert figure(scored) == figure(items(V2))


def test_style_control_of_items() -> None:
    scored = items(V2)
    low, value, high = (style_controlled(part)(scored) for part in ("low", "value", "high"))
    assert 0.0 <= low <= value <= high <= 1.0
    assert style_controlled("value", centred=False)(scored) != value


def test_where_nothing_counts_there_is_no_figure() -> None:
    for protocol in (V01, V2):
        none = [item_of((None, None), protocol, style={"model": {}, "baseline": {}})]
        figures = [bt_win_rate(protocol), win_rate_limit(protocol, "low"), position_bias, position_bias_limit("low")]
        figures += [judge_disagreement, judge_contradiction, judge_kappa]
        assert all(math.isnan(figure(none)) for figure in figures)
        assert null_verdicts(none) == 1.0
    assert math.isnan(bootstrap_win_rate(none))
