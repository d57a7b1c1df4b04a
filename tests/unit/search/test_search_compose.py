"""Configurations filled in are those that Hydra itself composes."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
from hydra.core.config_loader import ConfigLoader
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from bai_sweep.search._compose import Composer
from bai_sweep.sources import packaged_dir
from tests.unit.search.conftest import multirun


@functools.cache
def _ours() -> tuple[DictConfig, ConfigLoader]:
    return multirun(packaged_dir("conf"), "device=cpu", "+hydra.job.env_set={A: b}")


class Counted(Composer):
    """Counts what Hydra was asked for."""

    asked = 0

    def _by_hydra(self, overrides: Any) -> DictConfig:
        self.asked += 1
        return super()._by_hydra(overrides)


def _same(composer: Composer, config: DictConfig, loader: ConfigLoader, overrides: list[str]) -> None:
    filled, whole = composer.compose(overrides), loader.load_sweep_config(config, overrides)
    assert OmegaConf.to_container(filled, resolve=False) == OmegaConf.to_container(whole, resolve=False)
    for key in ("actor", "rl", "weights"):
        if key in whole:
            assert OmegaConf.to_container(filled[key], resolve=True) == OmegaConf.to_container(
                whole[key], resolve=True
            )
    assert OmegaConf.is_struct(filled) == OmegaConf.is_struct(whole)


POINTS = st.fixed_dictionaries(
    {},
    optional={
        "alpha": st.sampled_from(["0.1", "1e-3", "${seed}", "null"]),
        "seed": st.integers(0, 3).map(str),
        "weights": st.sampled_from(["{instruct: 0.3,distilled: 0.7}", "{instruct: 1.0,distilled: 0.0}"]),
        "weights.instruct": st.sampled_from(["0.25", "0.75"]),
        "actor": st.sampled_from(["bai", "stage1"]),
        "rl": st.sampled_from(["ppo", "vapo"]),
        "rl.steps": st.sampled_from(["5", "6"]),
        "+evaluation.unavailable.x": st.sampled_from(["gone", "'1e-3'"]),
        "model.base": st.sampled_from(["'a b'", "here"]),
        "results_dir": st.sampled_from(["r1", "r2"]),
    },
)


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(points=st.lists(POINTS, min_size=2, max_size=6))
def test_filled_in_is_what_hydra_composes_whatever_came_before(points: list[dict[str, str]]) -> None:
    config, loader = _ours()
    composer = Composer(config, loader)
    for point in points:
        _same(composer, config, loader, [*(f"{key}={value}" for key, value in point.items()), "study=s"])


def test_points_of_a_real_space(tmp_path: Path) -> None:
    config, loader = _ours()
    composer = Counted(config, loader)
    points = [
        ["actor=bai", "alpha=0.1", "weights={instruct: 0.3,distilled: 0.7}"],
        ["actor=bai", "alpha=0.2", "weights={instruct: 0.1,distilled: 0.9}"],
        ["actor=bai", "alpha=0.3", "weights={instruct: 1.0,distilled: 0.0}"],
        ["actor=bai", "alpha=0.3"],  # keeps the configured weights, though others came before
        ["actor=stage1", "alpha=0.4", "weights={instruct: 0.5,distilled: 0.5}"],
        ["actor=bai", "alpha=0.5", "weights={instruct: 0.25,distilled: 0.75}"],
    ]
    for point in points:
        _same(composer, config, loader, point)
    assert composer.asked == 4  # twice for the first kind of point, once for each other


def _write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def test_what_hydra_must_do_itself_it_does(tmp_path: Path) -> None:
    _write(
        tmp_path,
        config="defaults: [_self_, {size: small}, {extra: '${size}'}]\na: 1\nopen: {k: 0}\n",
        size__small="n: 1\n",
        size__large="n: 2\n",
        extra__small="m: 1\n",
        extra__large="m: 2\n",
    )
    config, loader = multirun(tmp_path)
    composer = Composer(config, loader)
    for overrides in (
        ["a=1", "size=small"],
        ["a=2", "size=small"],
        ["a=3", "size=large"],  # takes extra=large with it
        ["a=4", "size=large"],
        ["a=5", "~extra"],
        ["a=6", "~extra"],
        ["a=7", "+extra@other=small"],
        ["+b=1"],
        ["+b=2"],
        ["++b=2"],
        ["~a"],
        ["a=8"],
    ):
        _same(composer, config, loader, overrides)


def test_a_mapping_leaves_nothing_behind_for_the_next_point(tmp_path: Path) -> None:
    _write(tmp_path, config="defaults: [_self_]\nopen: {k: 0}\nhydra: {job: {name: x}}\n")
    config, loader = multirun(tmp_path)
    composer = Composer(config, loader)
    for value in ("{k: 1}", "{k: 2}", "{}", "{k: 3}"):
        _same(composer, config, loader, [f"open={value}"])


def test_where_filling_in_gives_something_else_hydra_composes_every_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path, config="a: 1\n")
    config, loader = multirun(tmp_path)
    composer = Counted(config, loader)
    monkeypatch.setattr(composer, "_filled", lambda *_: OmegaConf.create({"hydra": {}}))
    for index in range(4):
        _same(composer, config, loader, [f"a={index}"])
    assert composer.asked == 4


def test_one_configuration_does_not_change_with_the_next(tmp_path: Path) -> None:
    _write(tmp_path, config="a: 1\nb: {c: [1, 2]}\n")
    config, loader = multirun(tmp_path)
    composer = Composer(config, loader)
    made = [composer.compose([f"a={index}"]) for index in range(4)]
    made[3].b.c.append(9)
    made[0].b.c.append(8)
    assert [one.a for one in made] == [0, 1, 2, 3]
    assert composer.compose(["a=4"]).b.c == [1, 2]
