"""The alpha of a tensor by its depth and part, and merges with it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bai_sweep.merging._engine import run
from bai_sweep.merging._types import Part, TensorInfo
from bai_sweep.merging.methods import Depth, Linear
from tests.unit.merging.conftest import ArraySink, ArrayTensors

WEIGHTS = {"instruct": 0.3, "distilled": 0.7}
RATIO = st.floats(0, 1)


def tensor(depth: float | None, part: Part = "mlp", name: str = "w", size: int = 50) -> TensorInfo:
    return TensorInfo(name, (size,), part, depth)


@pytest.mark.parametrize(
    ("depth", "alpha"), [(0.0, 0.2), (0.25, 0.5), (0.5, 0.8), (0.6, 0.66), (0.75, 0.45), (1.0, 0.1), (None, 0.3)]
)
def test_alpha_is_linear_between_the_points_and_the_merge_s_outside_the_layers(
    depth: float | None, alpha: float
) -> None:
    method = Depth(0.3, WEIGHTS, (0.2, 0.8, 0.1), {})

    assert method.alpha_of(tensor(depth)) == pytest.approx(alpha, abs=1e-15)


def test_the_points_themselves_are_exact() -> None:
    method = Depth(0.3, WEIGHTS, (0.1, 0.7, 0.9), {})

    assert [method.alpha_of(tensor(depth)) for depth in (0.0, 0.5, 1.0)] == [0.1, 0.7, 0.9]


def test_a_part_s_alpha_takes_the_place_of_its_layer_s() -> None:
    method = Depth(0.3, WEIGHTS, (0.1, 0.1, 0.1), {"attention": 0.0, "head": 1.0})

    assert method.alpha_of(tensor(0.5, "attention")) == 0.0
    assert method.alpha_of(tensor(0.5, "norms")) == 0.1
    assert method.alpha_of(tensor(None, "head")) == 1.0
    assert method.alpha_of(tensor(None, "embeddings")) == 0.3


@given(RATIO, RATIO, RATIO, RATIO)
def test_alpha_stays_between_its_points(first: float, middle: float, last: float, depth: float) -> None:
    alpha = Depth(0.3, WEIGHTS, (first, middle, last), {}).alpha_of(tensor(depth))

    near = (first, middle) if depth < 0.5 else (middle, last)
    assert min(near) <= alpha <= max(near)


@given(RATIO, RATIO)
def test_a_schedule_of_one_value_is_that_value(alpha: float, depth: float) -> None:
    assert Depth(alpha, WEIGHTS, (alpha, alpha, alpha), {}).alpha_of(tensor(depth)) == alpha


@given(RATIO, st.sampled_from([(0.0, None), (0.4, None), (1.0, None), (0.0, 1.0), (0.3, 0.0), (0.3, 1.0)]))
@settings(deadline=None, max_examples=40)
def test_every_tensor_is_the_linear_merge_of_its_alpha_bit_for_bit(
    middle: float, layers: tuple[float, float | None]
) -> None:
    alpha, other = layers
    ends = alpha if other is None else other
    method = Depth(alpha, WEIGHTS, (ends, middle if other is not None else alpha, ends), {"norms": ends})
    tensors = [tensor(0.0, name="a"), tensor(0.3, name="b"), tensor(0.5, "norms", "c"), tensor(None, "head", "d")]
    generator = np.random.default_rng(0)
    members = {
        name: ArrayTensors({t.name: generator.standard_normal(t.size).astype(np.float32) for t in tensors})
        for name in ("base", "instruct", "distilled")
    }

    sink = ArraySink(tensors)
    run(tensors, {name: members[name] for name in method.members}, method, sink, threads=1, block=17)

    for each in tensors:
        alone = ArraySink([each])
        run([each], members, Linear(method.alpha_of(each), WEIGHTS), alone, threads=1)
        assert sink.result()[each.name].numpy().tobytes() == alone.result()[each.name].numpy().tobytes()


@pytest.mark.parametrize(
    ("alpha", "layers", "parts", "members"),
    [
        (0.0, (0.0, 0.0, 0.0), {}, ("instruct", "distilled")),
        (1.0, (1.0, 1.0, 1.0), {"norms": 1.0}, ("base",)),
        (0.0, (0.0, 0.0, 0.2), {}, ("base", "instruct", "distilled")),
        (0.0, (0.0, 0.0, 0.0), {"head": 1.0}, ("base", "instruct", "distilled")),
        (1.0, (1.0, 0.0, 1.0), {}, ("base", "instruct", "distilled")),
    ],
)
def test_members_are_those_that_some_tensor_needs(
    alpha: float, layers: tuple[float, float, float], parts: dict[Part, float], members: tuple[str, ...]
) -> None:
    assert Depth(alpha, WEIGHTS, layers, parts).members == members
