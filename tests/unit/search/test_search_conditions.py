"""Keys that are swept only where others have certain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import optuna
import pytest
from hydra.core.config_loader import ConfigLoader
from omegaconf import OmegaConf

from bai_sweep.records import UserError
from bai_sweep.search._grammar import parse_space
from bai_sweep.search._space import Space

CONFIG = OmegaConf.create({})
Conditions = Mapping[str, str | Sequence[str]]


def _space(overrides: Sequence[str], loader: ConfigLoader, conditions: Conditions) -> Space:
    return parse_space(overrides, loader, CONFIG, conditions)


def test_grid_has_no_point_twice_and_none_with_a_key_that_does_not_count(loader: ConfigLoader) -> None:
    space = _space(["rl=none,ppo,vapo", "rl.steps=5,6", "seed=1"], loader, {"rl.steps": "rl=ppo, vapo"})
    assert space.grid() == [
        {"rl": "none"},
        {"rl": "ppo", "rl.steps": 5},
        {"rl": "ppo", "rl.steps": 6},
        {"rl": "vapo", "rl.steps": 5},
        {"rl": "vapo", "rl.steps": 6},
    ]
    assert [space.overrides(point) for point in space.grid()[:2]] == [
        ["seed=1", "rl=none"],
        ["seed=1", "rl=ppo", "rl.steps=5"],
    ]
    assert space.described() == {"rl": "none,ppo,vapo", "rl.steps": "5,6 if rl=ppo,vapo"}


def test_the_order_on_the_command_line_does_not_matter(loader: ConfigLoader) -> None:
    space = _space(["rl.steps=5,6", "rl=none,ppo"], loader, {"rl.steps": "rl=ppo"})
    assert space.grid() == [{"rl": "none"}, {"rl.steps": 5, "rl": "ppo"}, {"rl.steps": 6, "rl": "ppo"}]


def test_conditions_of_conditions_and_several_at_once(loader: ConfigLoader) -> None:
    conditions = {"c": "b=1", "b": "a=1", "d": ["a=2", "e=0.5"]}
    space = _space(["a=1,2", "b=1,2", "c=7,8", "d=3,4", "e=0.5,1.0"], loader, conditions)
    assert [tuple(point.items()) for point in space.grid()] == [
        (("a", 1), ("b", 1), ("c", 7), ("e", 0.5)),
        (("a", 1), ("b", 1), ("c", 7), ("e", 1.0)),
        (("a", 1), ("b", 1), ("c", 8), ("e", 0.5)),
        (("a", 1), ("b", 1), ("c", 8), ("e", 1.0)),
        (("a", 1), ("b", 2), ("e", 0.5)),
        (("a", 1), ("b", 2), ("e", 1.0)),
        (("a", 2), ("d", 3), ("e", 0.5)),
        (("a", 2), ("e", 1.0)),
        (("a", 2), ("d", 4), ("e", 0.5)),
    ]
    assert space.described()["d"] == "3,4 if a=2 and e=0.5"


@pytest.mark.parametrize("written", ["true", "1", "1.0", "0.1", "1e-3", "null", "word", "'two words'"])
def test_a_value_holds_as_it_is_written(written: str, loader: ConfigLoader) -> None:
    space = _space([f"a={written},other", "b=1,2"], loader, {"b": f"a={written}"})
    assert len(space.grid()) == 3


def test_numbers_hold_however_they_are_written(loader: ConfigLoader) -> None:
    assert len(_space(["a=0.10,0.5", "b=1,2"], loader, {"b": "a=1e-1"}).grid()) == 3
    assert len(_space(["a=range(1,3)", "b=1,2"], loader, {"b": "a=1.0"}).grid()) == 3


def test_sampler_never_sees_a_key_that_does_not_count(loader: ConfigLoader) -> None:
    space = _space(["b=interval(0,1)", "a=1,2,3", "c=interval(0,1)"], loader, {"b": "a=1,3", "c": "a=2"})
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(30):
        trial = study.ask()
        point = space.suggest(trial)
        assert trial.params == point
        assert list(point) == [key for key in ("b", "a", "c") if key in point]  # in the space's order
        assert ("b" in point) == (point["a"] in (1, 3))
        assert ("c" in point) == (point["a"] == 2)
        seen.add(point["a"])
    assert seen == {1, 2, 3}


def test_every_value_with_a_condition_is_checked_in_large_spaces_too(loader: ConfigLoader) -> None:
    space = _space(["rl=none,ppo", "b=range(0,40)", "c=7,8"], loader, {"b": "rl=ppo", "c": "b=3"})
    probes = space.probes(32)
    assert {point["b"] for point in probes if "b" in point} == set(range(40))
    assert {point["c"] for point in probes if "c" in point} == {7, 8}
    assert all(point["rl"] == "ppo" for point in probes if "b" in point)
    assert {"rl": "none"} in probes


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"rl.steps": "ppo"}, "a condition is key=value or key=value,value; got 'ppo'"),
        ({"rl.steps": "rl="}, "a condition is key=value or key=value,value; got 'rl='"),
        ({"rl.steps": ["rl=ppo", "x"]}, "a condition is key=value or key=value,value; got 'x'"),
        ({"rl.steps": "alpha=1"}, "alpha is not swept; swept are rl, rl.steps"),
        ({"alpha": "rl=ppo"}, "alpha is not swept; swept are rl, rl.steps"),
        ({"rl": "rl=ppo"}, "rl depends on itself"),
        ({"rl": "rl.steps=5", "rl.steps": "rl=ppo"}, "rl depends on itself"),
        ({"rl.steps": "rl=pop"}, "rl is never pop"),
    ],
)
def test_bad_condition_is_refused(conditions: Conditions, message: str, loader: ConfigLoader) -> None:
    with pytest.raises(UserError, match=rf"(?s)bad search space.*hydra\.sweeper\.conditions: {message}"):
        _space(["rl=none,ppo", "rl.steps=5,6"], loader, conditions)
