"""Overrides become dimensions: the expected values are written out by hand from Hydra's grammar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

import optuna
import pytest
from hydra.core.config_loader import ConfigLoader
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from bai_sweep.records import UserError
from bai_sweep.search._dimensions import Interval
from bai_sweep.search._grammar import parse_space
from bai_sweep.search._space import Space

CONFIG = OmegaConf.create({"weights": {"instruct": 0.5, "distilled": 0.5}, "three": {"a": 1, "b": 0, "c": 0}})


def _space(
    overrides: Sequence[str], loader: ConfigLoader, conditions: Mapping[str, str | Sequence[str]] | None = None
) -> Space:
    return parse_space(overrides, loader, CONFIG, conditions or {})


@pytest.mark.parametrize(
    ("override", "values", "overrides"),
    [
        ("alpha=0.1,0.5", [0.1, 0.5], ["alpha=0.1", "alpha=0.5"]),
        ("alpha=choice(0.5, 0.1)", [0.5, 0.1], ["alpha=0.5", "alpha=0.1"]),
        ("a=range(1,6,2)", [1, 3, 5], ["a=1", "a=3", "a=5"]),
        ("a=range(5,1,-2)", [5, 3], ["a=5", "a=3"]),
        ("a=range(0,0.9,0.3)", [0.0, 0.3, 0.6], ["a=0.0", "a=0.3", "a=0.6"]),
        ("a=range(0,1,0.3)", [0.0, 0.3, 0.6, 0.9], ["a=0.0", "a=0.3", "a=0.6", "a=0.9"]),
        ("+a=sort(3,1,2)", [1, 2, 3], ["+a=1", "+a=2", "+a=3"]),
        ("actor=paradigm1,bai", ["paradigm1", "bai"], ["actor=paradigm1", "actor=bai"]),
        ("actor=glob(paradigm*)", ["paradigm1", "paradigm2", "paradigm3"], None),
        ("a='x y',true,null", ["x y", True, None], ["a='x y'", "a=true", "a=null"]),
        ("a=1,true", ["1", "True"], ["a=1", "a=true"]),
        ("weights={a:1},{a:2}", ["{a:1}", "{a:2}"], ["weights={a:1}", "weights={a:2}"]),
    ],
)
def test_finite_dimension(
    override: str, values: list[object], overrides: list[str] | None, loader: ConfigLoader
) -> None:
    (dimension,) = _space([override], loader).dimensions
    assert dimension.choices is not None
    assert list(dimension.choices) == values
    assert [type(v) for v in dimension.choices] == [type(v) for v in values]
    if overrides is not None:
        written = [dimension.override(v) for v in dimension.choices]
        # Hydra's own parser is the judge of what an override means.
        assert [_meaning(o, loader) for o in written] == [_meaning(o, loader) for o in overrides]


def _meaning(override: str, loader: ConfigLoader) -> tuple[str, object]:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (parsed,) = OverridesParser.create(config_loader=loader).parse_overrides([override])
    return parsed.get_key_element(), parsed.value()


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("a=interval(0,1)", (0.0, 1.0, False, float)),
        ("a=int(interval(1,5))", (1, 5, False, int)),
        ("a=tag(log,interval(1e-5,1e-2))", (1e-5, 1e-2, True, float)),
    ],
)
def test_interval(override: str, expected: tuple[float, float, bool, type], loader: ConfigLoader) -> None:
    low, high, log, kind = expected
    space = _space([override], loader)
    (interval,) = space.dimensions
    assert isinstance(interval, Interval)
    assert (interval.low, interval.high, interval.log) == (low, high, log)
    assert not space.is_finite
    drawn = [interval.suggest(_trial()) for _ in range(50)]
    assert {type(v) for v in drawn} == {kind}
    assert all(low <= v <= high for v in drawn if isinstance(v, int | float))
    assert len(set(drawn)) > 3


def _trial() -> optuna.Trial:
    return optuna.create_study(sampler=optuna.samplers.RandomSampler()).ask()


def test_later_override_wins_in_the_place_of_the_first(loader: ConfigLoader) -> None:
    space = _space(["alpha=0.1,0.2", "rl.steps=3", "seed=1,2", "alpha=0.7,0.9", "rl.steps=4"], loader)
    assert space.described() == {"alpha": "0.7,0.9", "seed": "1,2"}
    assert space.fixed == ("rl.steps=4",)
    assert _space(["alpha=0.1,0.2", "alpha=0.3"], loader).dimensions == ()


def test_grid_is_in_product_order(loader: ConfigLoader) -> None:
    space = _space(["alpha=0.1,0.5", "rl.steps=3", "actor=bai,stage1"], loader)
    assert [space.overrides(point) for point in space.grid()] == [
        ["rl.steps=3", "alpha=0.1", "actor=bai"],
        ["rl.steps=3", "alpha=0.1", "actor=stage1"],
        ["rl.steps=3", "alpha=0.5", "actor=bai"],
        ["rl.steps=3", "alpha=0.5", "actor=stage1"],
    ]
    assert _space([], loader).grid() == [{}]


def test_shuffle_keeps_its_order_between_runs(loader: ConfigLoader) -> None:
    orders = {_space(["a=shuffle(range(0,9))"], loader).dimensions[0].choices for _ in range(3)}
    (order,) = orders
    assert set(order or ()) == set(range(9))
    assert list(order or ()) != list(range(9))


def test_probes_of_intervals_are_their_ends_and_large_grids_go_key_by_key(loader: ConfigLoader) -> None:
    space = _space(["alpha=interval(0,1)", "actor=bai,stage1"], loader)
    assert [tuple(p.values()) for p in space.probes(4)] == [(0, "bai"), (0, "stage1"), (1, "bai"), (1, "stage1")]
    assert [tuple(p.values()) for p in space.probes(3)] == [(0, "bai"), (1, "bai"), (0, "stage1")]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("alpha=0.1,0.1", "stands here twice"),
        ("alpha=interval(1,0)", "from low to high"),
        ("alpha=tag(log,interval(0,1))", "starts above 0"),
        ("alpha=range(3,1)", "range is empty"),
        ("study=a,b", "setting of the whole study"),
        ("actor=glob(zzz*)", "nothing matches"),
        ("alpha=[1", "bad search space"),
    ],
)
def test_bad_override_is_refused(override: str, message: str, loader: ConfigLoader) -> None:
    with pytest.raises(UserError, match=message):
        _space([override], loader)


@settings(max_examples=40, deadline=None)
@given(
    start=st.integers(-20, 20),
    count=st.integers(1, 8),
    step=st.decimals("0.01", "3", places=2),
    number=st.integers(0, 2**31),
)
def test_sampled_step_is_one_of_the_grid(
    loader: ConfigLoader, start: int, count: int, step: Decimal, number: int
) -> None:
    (dimension,) = _space([f"a=range({start},{start + count * step - step / 2},{step})"], loader).dimensions
    assert dimension.choices is not None
    assert len(dimension.choices) == count
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=number))
    assert dimension.suggest(study.ask()) in dimension.choices
