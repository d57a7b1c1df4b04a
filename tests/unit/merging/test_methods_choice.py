"""From an actor's configuration to its method and its recipe."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from bai_sweep.config import MergedActor, MergeMethod, SFTActor
from bai_sweep.merging._types import Method
from bai_sweep.merging.methods import (
    Dare,
    Depth,
    Linear,
    Slerp,
    TaskArithmetic,
    Ties,
    TwoSave,
    method_of,
    recipe_of,
)

SOURCES = {name: f"testbed://{name}" for name in ("base", "instruct", "distilled")}
NONE_OF_LAYERS = {"first": None, "middle": None, "last": None}
NONE_OF_PARTS = {"embeddings": None, "attention": None, "mlp": None, "norms": None, "head": None}


def merge(method: str, **values: Any) -> MergeMethod:
    defaults: dict[str, dict[str, Any]] = {
        "two_save": {"dtype": "bfloat16"},
        "task_arithmetic": {"scale": None},
        "ties": {"scale": None, "density": 0.5, "election": "weight"},
        "dare": {"scale": None, "density": 0.5, "election": "none", "seed": 3},
        "depth": {"layers": NONE_OF_LAYERS, "parts": NONE_OF_PARTS},
    }
    adapter: TypeAdapter[MergeMethod] = TypeAdapter(MergeMethod)
    return adapter.validate_python({"method": method, **defaults.get(method, {}), **values})


def actor(method: str = "linear", alpha: float = 0.4, instruct: float = 0.25, **values: Any) -> MergedActor:
    weights = {"instruct": instruct, "distilled": 1 - instruct}
    return MergedActor(kind="merge", name="bai", alpha=alpha, weights=weights, merge=merge(method, **values))


@pytest.mark.parametrize(
    ("configured", "method"),
    [
        (actor(), Linear(0.4, {"instruct": 0.25, "distilled": 0.75})),
        (actor(instruct=0.0), Linear(0.4, {"distilled": 1.0})),
        (SFTActor(kind="sft", name="paradigm1", sft="instruct"), Linear(0.0, {"instruct": 1.0})),
        (actor("slerp"), Slerp(0.4, {"instruct": 0.25, "distilled": 0.75})),
        (actor("task_arithmetic"), TaskArithmetic({"instruct": 0.25, "distilled": 0.75}, 0.6)),
        (actor("task_arithmetic", scale=1.5, instruct=1.0), TaskArithmetic({"instruct": 1.0}, 1.5)),
        (actor("ties", density=0.2), Ties({"instruct": 0.25, "distilled": 0.75}, 0.6, 0.2, "weight")),
        (actor("dare", scale=0.7), Dare({"instruct": 0.25, "distilled": 0.75}, 0.7, 0.5, "none", 3)),
        (actor("ties", scale=0.0, election="count"), Ties({"instruct": 0.25, "distilled": 0.75}, 0.0, 0.5, "count")),
        (actor("dare", alpha=0.0), Dare({"instruct": 0.25, "distilled": 0.75}, 1.0, 0.5, "none", 3)),
        (actor("depth"), Depth(0.4, {"instruct": 0.25, "distilled": 0.75}, (0.4, 0.4, 0.4), {})),
        (
            actor(
                "depth",
                layers={"first": 0.0, "middle": None, "last": 1.0},
                parts={**NONE_OF_PARTS, "norms": 0.0, "head": 0.9},
            ),
            Depth(0.4, {"instruct": 0.25, "distilled": 0.75}, (0.0, 0.4, 1.0), {"norms": 0.0, "head": 0.9}),
        ),
    ],
)
def test_a_method_has_the_actor_s_settings(configured: MergedActor | SFTActor, method: Method) -> None:
    assert method_of(configured) == method


def test_the_base_s_share_of_a_given_scale_is_what_is_left_of_1() -> None:
    recipe = recipe_of(SOURCES, actor("ties", scale=0.25))

    assert recipe.weights == {"base": 0.75, "instruct": 0.0625, "distilled": 0.1875}


def test_two_saves_round_to_the_configured_dtype() -> None:
    method = method_of(actor("two_save", dtype="float16"))

    assert isinstance(method, TwoSave)
    assert method == TwoSave(0.4, {"instruct": 0.25, "distilled": 0.75}, "F16")


@pytest.mark.parametrize("method", ["linear", "two_save", "slerp", "task_arithmetic", "ties", "dare", "depth"])
def test_an_alpha_of_1_is_the_base_by_every_method(method: str) -> None:
    recipe = recipe_of(SOURCES, actor(method, alpha=1.0))

    assert method_of(actor(method, alpha=1.0)).members == ("base",)
    assert recipe.weights == {"base": 1.0}
    assert recipe.sources == {"base": "testbed://base"}


@pytest.mark.parametrize(
    ("method", "read"),
    [
        ("linear", ("distilled",)),
        ("two_save", ("distilled",)),
        ("slerp", ("distilled",)),
        ("depth", ("distilled",)),
        ("task_arithmetic", ("base", "distilled")),
        ("ties", ("base", "distilled")),
        ("dare", ("base", "distilled")),
    ],
)
def test_models_without_weight_are_read_only_where_a_method_starts_from_them(
    method: str, read: tuple[str, ...]
) -> None:
    configured = actor(method, alpha=0.0, instruct=0.0)

    assert method_of(configured).members == read
    assert tuple(recipe_of(SOURCES, configured).sources) == read
    assert recipe_of(SOURCES, configured).weights == {"distilled": 1.0}


def test_a_schedule_reads_the_base_where_any_alpha_needs_it() -> None:
    recipe = recipe_of(SOURCES, actor("depth", alpha=0.0, layers={**NONE_OF_LAYERS, "last": 0.5}))

    assert recipe.weights == {"instruct": 0.25, "distilled": 0.75}
    assert tuple(recipe.sources) == ("base", "instruct", "distilled")


def test_a_recipe_says_the_method_and_the_settings_that_are_set() -> None:
    def said(configured: MergedActor | SFTActor) -> tuple[str, Any]:
        recipe = recipe_of(SOURCES, configured)
        return recipe.method, recipe.settings

    assert said(actor()) == ("linear", {})
    assert said(SFTActor(kind="sft", name="paradigm1", sft="instruct")) == ("linear", {})
    assert said(actor("two_save")) == ("two_save", {"dtype": "bfloat16"})
    assert said(actor("ties")) == ("ties", {"density": 0.5, "election": "weight"})
    assert said(actor("dare", scale=2.0)) == ("dare", {"scale": 2.0, "density": 0.5, "election": "none", "seed": 3})
    assert said(actor("depth")) == ("depth", {})
    assert said(actor("depth", layers={**NONE_OF_LAYERS, "first": 0.0})) == ("depth", {"layers": {"first": 0.0}})


def test_a_formula_reads_as_the_merge() -> None:
    schedule = {"layers": {**NONE_OF_LAYERS, "first": 0.1, "last": 0.9}}

    assert recipe_of(SOURCES, actor()).formula() == "0.4*base + 0.15*instruct + 0.45*distilled"
    assert recipe_of(SOURCES, actor("slerp")).formula() == "slerp(0.4*base + 0.15*instruct + 0.45*distilled)"
    assert recipe_of(SOURCES, actor("depth", **schedule)).formula() == (
        "depth(0.4*base + 0.15*instruct + 0.45*distilled; layers={first: 0.1, last: 0.9})"
    )
