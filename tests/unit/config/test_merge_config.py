"""The group actor/merge: every method composes, is checked, and can be searched."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from bai_sweep.config import ConfigError, MergedActor, parse
from bai_sweep.records import UserError
from bai_sweep.search._dimensions import Point
from bai_sweep.search._grammar import parse_space
from bai_sweep.search._points import check_points
from bai_sweep.sources import packaged_dir

CONF = packaged_dir("conf")
METHODS = sorted(file.stem for file in (CONF / "actor" / "merge").glob("*.yaml"))


@pytest.fixture(scope="module", autouse=True)
def loader() -> Iterator[ConfigLoader]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


def actor(*overrides: str) -> MergedActor:
    config = parse(compose("config", overrides=list(overrides)))
    assert isinstance(config.actor, MergedActor)
    return config.actor


def test_the_methods_are_these() -> None:
    assert METHODS == ["dare", "depth", "linear", "slerp", "task_arithmetic", "ties", "two_save"]


@pytest.mark.parametrize("base", ["bai", "stage1"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_composes_with_every_merged_actor(method: str, base: str) -> None:
    assert actor(f"actor={base}", f"actor/merge={method}").merge.method == method


def test_an_actor_that_names_no_method_is_merged_as_in_the_paper() -> None:
    assert actor().merge.method == "linear"
    assert actor("actor=stage1").merge.method == "linear"


def test_settings_reach_the_method() -> None:
    merge = actor("actor/merge=ties", "actor.merge.density=0.3", "actor.merge.election=count", "alpha=0.25").merge

    assert merge.model_dump() == {"method": "ties", "scale": None, "density": 0.3, "election": "count"}


def test_dare_takes_the_trial_s_seed() -> None:
    assert actor("actor/merge=dare", "seed=7").merge.model_dump()["seed"] == 7


@pytest.mark.parametrize(
    ("overrides", "faults"),
    [
        ("actor/merge=ties actor.merge.density=0", ["actor.merge.density: Input should be greater than 0"]),
        (
            "actor/merge=dare actor.merge.density=1.1 actor.merge.seed=-1",
            [
                "actor.merge.density: Input should be less than or equal to 1 (got 1.1)",
                "actor.merge.seed: Input should be greater than or equal to 0 (got -1)",
            ],
        ),
        (
            "actor/merge=dare actor.merge.election=all",
            ["actor.merge.election: Input should be 'weight', 'count' or 'none' (got 'all')"],
        ),
        (
            "actor/merge=task_arithmetic actor.merge.scale=-1",
            ["actor.merge.scale: Input should be greater than or equal to 0 (got -1)"],
        ),
        (
            "actor/merge=two_save actor.merge.dtype=int8",
            ["actor.merge.dtype: Input should be 'float32', 'bfloat16' or 'float16' (got 'int8')"],
        ),
        (
            "actor/merge=depth actor.merge.layers.last=2 +actor.merge.parts.bias=0 actor.merge.parts.norms=3",
            [
                "actor.merge.layers.last: Input should be less than or equal to 1 (got 2)",
                "actor.merge.parts.norms: Input should be less than or equal to 1 (got 3)",
                "actor.merge.parts.bias: there is no such key; actor/merge=depth has none",
            ],
        ),
        (
            "actor.merge.method=median",
            [
                "actor.merge.method: Input tag 'median' found using 'method' does not match any of the expected tags: "
                "'linear', 'two_save', 'slerp', 'task_arithmetic', 'ties', 'dare', 'depth'"
            ],
        ),
        ("~actor.merge.method", ["actor.merge.method: Unable to extract tag using discriminator 'method'"]),
        ("+actor.merge.density=0.3", ["actor.merge.density: there is no such key; actor/merge=linear has none"]),
        ("actor.merge=ties", ["actor.merge: a group of settings, chosen as actor/merge=<method>; got 'ties'"]),
        (
            "actor=paradigm1 +actor/merge=ties",
            ["actor.merge: there is no such key; `python -m bai_sweep --help` lists them"],
        ),
    ],
)
def test_a_bad_value_is_named_by_the_key_that_a_user_writes(overrides: str, faults: list[str]) -> None:
    with pytest.raises(ConfigError, match="bad configuration") as caught:
        actor(*overrides.split())

    assert str(caught.value).splitlines()[1:] == [f"  - {fault}" for fault in faults]


def configurations(loader: ConfigLoader, *overrides: str) -> dict[tuple[object, ...], MergedActor]:
    """The actors of the points that a study checks before it starts."""
    root = loader.load_configuration("config", [], run_mode=_run_mode())
    assert isinstance(root, DictConfig)
    space = parse_space(overrides, loader, root, {})
    points: list[Point] = space.probes(100)
    found = [config.actor for config in check_points(space, root, loader)]
    assert all(isinstance(one, MergedActor) for one in found)
    return {
        tuple(point.values()): one for point, one in zip(points, found, strict=True) if isinstance(one, MergedActor)
    }


def _run_mode() -> object:
    from hydra.types import RunMode

    return RunMode.MULTIRUN


def test_the_method_can_be_swept(loader: ConfigLoader) -> None:
    actors = configurations(loader, "actor/merge=choice(linear,ties,slerp)", "alpha=0.1,0.9")

    assert [(*point, one.merge.method, one.alpha) for point, one in actors.items()] == [
        (method, alpha, method, alpha) for method in ("linear", "ties", "slerp") for alpha in (0.1, 0.9)
    ]


def test_a_density_can_be_searched(loader: ConfigLoader) -> None:
    actors = configurations(loader, "actor/merge=ties", "actor.merge.density=interval(0.1,1)")

    assert {point: one.merge.model_dump()["density"] for point, one in actors.items()} == {(0.1,): 0.1, (1,): 1.0}


def test_a_setting_of_two_methods_can_be_searched_with_the_method(loader: ConfigLoader) -> None:
    actors = configurations(loader, "actor/merge=choice(ties,dare)", "actor.merge.density=0.2,0.5")

    assert {p: (a.merge.method, a.merge.model_dump()["density"]) for p, a in actors.items()} == {
        (method, density): (method, density) for method in ("ties", "dare") for density in (0.2, 0.5)
    }


def test_a_schedule_over_layers_can_be_searched(loader: ConfigLoader) -> None:
    actors = configurations(
        loader,
        "actor/merge=depth",
        "actor.merge.layers.first=interval(0,1)",
        "actor.merge.layers.last=0.2,null",
        "actor.merge.parts.norms=interval(0.0,0.5)",
    )

    layers = [one.merge.model_dump()["layers"] for one in actors.values()]
    assert {(each["first"], each["last"]) for each in layers} == {(0, 0.2), (0, None), (1, 0.2), (1, None)}


def test_a_setting_that_one_of_the_swept_methods_lacks_is_refused_before_the_study(loader: ConfigLoader) -> None:
    with pytest.raises(UserError, match=r"Could not override 'actor.merge.density'") as caught:
        configurations(loader, "actor/merge=choice(linear,ties)", "actor.merge.density=0.2,0.5")

    assert "2 of 4 points checked are not valid" in str(caught.value)
    assert "actor/merge=linear actor.merge.density=0.2" in str(caught.value)


def test_a_method_that_does_not_exist_is_refused_before_the_study(loader: ConfigLoader) -> None:
    with pytest.raises(
        UserError, match=r"Could not find 'actor/merge/median' Available options .*: dare depth linear"
    ):
        configurations(loader, "actor/merge=choice(linear,median)")
