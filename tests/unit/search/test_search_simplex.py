"""Weights on a simplex: uniform, and the same there and back."""

from __future__ import annotations

import math

import numpy as np
import optuna
import pytest
import scipy.stats
from hydra.core.config_loader import ConfigLoader
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from bai_sweep.records import UserError
from bai_sweep.search._dimensions import Choices, Dimension
from bai_sweep.search._grammar import parse_space
from bai_sweep.search._simplex import Simplex, breaks, lattice, shares

CONFIG = OmegaConf.create({"two": {"a": 0.5, "b": 0.5}, "three": {"a": 1, "b": 0, "c": 0}, "one": {"a": 1}, "x": 3})


def _parse(text: str, loader: ConfigLoader, config: DictConfig = CONFIG) -> Dimension:
    (dimension,) = parse_space([text], loader, config, {}).dimensions
    return dimension


def _names(count: int) -> tuple[str, ...]:
    return tuple("abcde"[:count])


@pytest.mark.parametrize("count", [2, 3, 5])
def test_uniform_breaks_give_a_flat_dirichlet(count: int) -> None:
    draws = np.random.default_rng(0).random((20_000, count - 1))
    weights = np.array([list(shares(_names(count), row).values()) for row in draws])
    flat = scipy.stats.dirichlet(np.ones(count))
    # Five standard errors of 20,000 draws; of the second moments too.
    np.testing.assert_allclose(weights.mean(axis=0), flat.mean(), atol=5 * flat.var().max() ** 0.5 / 141)
    np.testing.assert_allclose(np.cov(weights.T), flat.cov(), atol=0.05 * flat.var().max())
    for column in weights.T:  # each share alone is Beta(1, N - 1)
        assert scipy.stats.kstest(column, scipy.stats.beta(1, count - 1).cdf).pvalue > 1e-3


def test_every_part_of_the_triangle_is_as_likely() -> None:
    draws = np.random.default_rng(1).random((16_000, 2))
    first, second = np.array([list(shares(_names(3), row).values())[:2] for row in draws]).T
    # The triangle in 16 triangles of equal area: rows of fourths, up and down ones told apart by the remainders.
    row, column = np.floor(4 * first).astype(int), np.floor(4 * second).astype(int)
    down = (4 * first % 1) + (4 * second % 1) > 1
    _, counts = np.unique(100 * row + 10 * column + down, return_counts=True)
    assert len(counts) == 16
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


@settings(max_examples=200, deadline=None)
@given(uniform=st.lists(st.floats(0, 1), min_size=1, max_size=4))
def test_weights_sum_to_one_and_are_none_below_zero(uniform: list[float]) -> None:
    weights = shares(_names(len(uniform) + 1), uniform)
    assert abs(math.fsum(weights.values()) - 1) <= 1e-12
    assert min(weights.values()) >= 0


@settings(max_examples=200, deadline=None)
@given(raw=st.lists(st.floats(0, 1), min_size=2, max_size=5).filter(lambda raw: sum(raw) > 1e-3))
def test_weights_come_back_from_their_breaks(raw: list[float]) -> None:
    weights = [value / math.fsum(raw) for value in raw]
    dimension = Simplex("w", "w", "", _names(len(weights)))
    given_weights = dict(zip(dimension.members, weights, strict=True))
    encoded = dimension.encode(given_weights)
    assert list(encoded) == list(dimension.parameters)
    assert all(isinstance(u, float) and 0 <= u <= 1 for u in encoded.values())
    back = shares(dimension.members, breaks(weights))
    assert back == pytest.approx(given_weights, abs=1e-9)


def test_suggested_weights_are_those_of_their_parameters(loader: ConfigLoader) -> None:
    dimension = _parse("three=tag(simplex, interval(0, 1))", loader)
    assert isinstance(dimension, Simplex)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trial = study.ask()
    weights = dimension.suggest(trial)
    assert isinstance(weights, dict)
    assert weights == shares(("a", "b", "c"), [trial.params["three/a"], trial.params["three/b"]])
    assert dimension.encode(weights) == pytest.approx(trial.params, abs=1e-9)
    assert study.ask(dict(dimension.distributions())).params.keys() == trial.params.keys()
    assert dimension.override({"a": 0.25, "b": 0.5, "c": 0.25}) == "three={a: 0.25,b: 0.5,c: 0.25}"
    assert [list(corner.values()) for corner in dimension.probes if isinstance(corner, dict)] == [
        [1, 0, 0],
        [0, 1, 0],
        [0, 0, 1],
    ]


def test_lattice_is_every_composition_the_first_member_falling() -> None:
    points = lattice(("a", "b", "c"), 2)
    assert [tuple(p.values()) for p in points] == [
        (1, 0, 0),
        (0.5, 0.5, 0),
        (0.5, 0, 0.5),
        (0, 1, 0),
        (0, 0.5, 0.5),
        (0, 0, 1),
    ]
    assert len(lattice(("a", "b", "c", "d"), 10)) == math.comb(13, 3)
    assert {round(math.fsum(p.values()), 12) for p in lattice(("a", "b", "c"), 7)} == {1.0}


@pytest.mark.parametrize("step", ["0.5", "0.25", "0.1", "0.3333333333333333"])
def test_steps_of_a_simplex_are_a_lattice(step: str, loader: ConfigLoader) -> None:
    dimension = _parse(f"two=tag(simplex, range(0, 1, {step}))", loader)
    parts = round(1 / float(step))
    assert isinstance(dimension, Choices)
    assert list(dimension.choices) == lattice(("a", "b"), parts)
    (first, *_) = dimension.choices
    assert dimension.encode(first) == {"two": dimension.elements[0]}
    assert dimension.override(first).partition("=")[2] == "{a: 1.0,b: 0.0}"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("x=tag(simplex, interval(0, 1))", "a mapping with two members or more.*x is 3"),
        ("one=tag(simplex, interval(0, 1))", "a mapping with two members or more"),
        ("nokey=tag(simplex, interval(0, 1))", "nokey is None"),
        ("two=tag(simplex, interval(0, 2))", r"a simplex is tag\(simplex, interval\(0, 1\)\)"),
        ("two=tag(simplex, range(0, 2, 0.5))", r"a simplex is tag\(simplex, interval\(0, 1\)\)"),
        ("two=tag(simplex, range(1, 0, -0.5))", r"a simplex is tag\(simplex, interval\(0, 1\)\)"),
        ("two=tag(simplex, choice(0, 1))", r"a simplex is tag\(simplex, interval\(0, 1\)\)"),
        ("two=tag(simplex, range(0, 1, 0.3))", "the step of a simplex divides 1; got 0.3"),
    ],
)
def test_what_is_no_simplex_is_refused(override: str, message: str, loader: ConfigLoader) -> None:
    with pytest.raises(UserError, match=message):
        _parse(override, loader)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0.5, "has a weight for each of a, b; got 0.5"),
        ({"a": 1.0}, "has a weight for each of a, b"),
        ({"a": 0.5, "b": 0.5, "c": 0.0}, "has a weight for each of a, b"),
        ({"a": 1.5, "b": -0.5}, "at least 0 and sum to 1"),
        ({"a": 0.5, "b": 0.6}, "at least 0 and sum to 1"),
        ({"a": math.nan, "b": 0.5}, "at least 0 and sum to 1"),
        ({"a": None, "b": 1.0}, "is a number; got None"),
        ({"a": "x", "b": 1.0}, "is a number; got 'x'"),
        ({"a": True, "b": 0.0}, "is a number; got True"),
    ],
)
def test_weights_outside_are_refused(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Simplex("w", "w", "", ("a", "b")).encode(value)
