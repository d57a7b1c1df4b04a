"""Merging methods against float64 references on whole arrays, and what holds whatever the numbers are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bai_sweep.merging._engine import run
from bai_sweep.merging._types import Block, Method, TensorInfo, Values
from bai_sweep.merging.methods import Dare, Depth, Linear, Slerp, TaskArithmetic, Ties
from tests.unit.merging import methods_references as reference
from tests.unit.merging.conftest import ArraySink, ArrayTensors

WEIGHTS = {"instruct": 0.3, "distilled": 0.7}
THREE = {"instruct": 0.25, "distilled": 0.35, "third": 0.4}
Models = dict[str, Values]

ALL: Mapping[str, Method] = {
    "linear": Linear(0.3, WEIGHTS),
    "depth": Depth(0.3, WEIGHTS, (0.1, 0.3, 0.9), {}),
    "slerp": Slerp(0.3, WEIGHTS),
    "task_arithmetic": TaskArithmetic(WEIGHTS, 0.7),
    "ties by weight": Ties(WEIGHTS, 0.7, 0.4, "weight"),
    "ties by count": Ties(WEIGHTS, 0.7, 0.4, "count"),
    "dare": Dare(WEIGHTS, 0.7, 0.4, "none", 5),
    "dare by weight": Dare(WEIGHTS, 0.7, 0.4, "weight", 5),
    "dare by count": Dare(WEIGHTS, 0.7, 0.4, "count", 5),
}


def models(
    size: int, seed: int = 0, names: tuple[str, ...] = ("instruct", "distilled"), spread: float = 0.5
) -> Models:
    """A base, and SFT models around it."""
    generator = np.random.default_rng(seed)
    base = generator.standard_normal(size)
    others = {name: base + spread * generator.standard_normal(size) for name in names}
    return {name: values.astype(np.float32) for name, values in {"base": base, **others}.items()}


def merged(
    method: Method, tensors: Models, block: int = 1000, threads: int = 1, tensor: TensorInfo | None = None
) -> Values:
    """What the engine makes of one tensor."""
    info = tensor or TensorInfo("w", tensors["base"].shape, "mlp", 0.25)
    members = {name: ArrayTensors({info.name: values}) for name, values in tensors.items()}
    sink = ArraySink([info])
    run([info], {name: members[name] for name in method.members}, method, sink, threads=threads, block=block)
    return np.asarray(sink.result()[info.name].numpy())


def exact(tensors: Models) -> dict[str, NDArray[np.float64]]:
    return {name: values.astype(np.float64) for name, values in tensors.items()}


def ulps(ours: Values, expected: NDArray[np.float64], tensors: Models, factor: float = 1.0) -> float:
    """The largest error in units of the last place of what an element is a sum of, its parts taken without sign."""
    size = max(factor, 1.0) * np.sum([np.abs(values) for values in tensors.values()], axis=0)
    return float(np.max(np.abs(ours - expected) / np.spacing(size.astype(np.float32))))


@pytest.mark.parametrize("alpha", [0.0, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("spread", [0.5, 2.0, 1e-3])
def test_slerp_is_the_sphere_s_formula_and_linear_where_the_sphere_is_flat(alpha: float, spread: float) -> None:
    tensors = models(20_000, spread=spread)

    ours = merged(Slerp(alpha, WEIGHTS), tensors)

    assert ulps(ours, reference.slerp(exact(tensors), WEIGHTS, alpha), tensors) <= 2


def test_slerp_of_a_quarter_circle_keeps_the_length() -> None:
    tensors = {"base": np.array([3, 0, 0], np.float32), "instruct": np.array([0, 3, 0], np.float32)}

    ours = merged(Slerp(1 / 3, {"instruct": 1.0}), tensors)

    np.testing.assert_allclose(ours, [3 * 0.5, 3 * 3**0.5 / 2, 0], rtol=1e-6)  # 60 of 90 degrees


@pytest.mark.parametrize("base", [[0, 0], [-1, -2]])
def test_slerp_of_a_zero_vector_or_of_an_opposite_one_is_linear(base: list[float]) -> None:
    tensors = {"base": np.array(base, np.float32), "instruct": np.array([1, 2], np.float32)}

    ours = merged(Slerp(0.25, {"instruct": 1.0}), tensors)

    assert ours.tolist() == [0.25 * base[0] + 0.75, 0.25 * base[1] + 1.5]


@pytest.mark.parametrize("scale", [0.0, 0.4, 1.0, 1.7])
def test_task_arithmetic_adds_the_scaled_sum_of_task_vectors(scale: float) -> None:
    tensors = models(5_000, names=tuple(THREE))

    ours = merged(TaskArithmetic(THREE, scale), tensors)

    assert ulps(ours, reference.task_arithmetic(exact(tensors), THREE, scale), tensors, scale) <= 2


@pytest.mark.parametrize("election", ["weight", "count"])
@pytest.mark.parametrize("density", [1e-9, 0.1, 0.5, 0.93, 1.0])
@pytest.mark.parametrize("scale", [0.0, 0.4, 1.7])
def test_ties_trims_elects_and_averages(election: str, density: float, scale: float) -> None:
    tensors = models(5_000, names=tuple(THREE))

    ours = merged(Ties(THREE, scale, density, election), tensors)  # type: ignore[arg-type]

    assert ulps(ours, reference.ties(exact(tensors), THREE, scale, density, election), tensors, scale) <= 2


@given(
    st.lists(st.sampled_from([0.0, 1.0, -1.0, 1.5, 2.0**-140, 1.0 + 2.0**-23, -3e38]), min_size=1), st.floats(0.01, 1)
)
@settings(deadline=None)
def test_ties_keeps_every_value_that_equals_the_threshold(values: list[float], density: float) -> None:
    vector = np.array(values, np.float32)
    tensors = {"base": np.zeros_like(vector), "instruct": vector}

    ours = merged(Ties({"instruct": 1.0}, 1.0, density, "weight"), tensors, block=3)

    threshold = sorted(np.abs(vector), reverse=True)[max(1, int(density * len(values))) - 1]
    assert ours.tolist() == [value if abs(value) >= threshold else 0.0 for value in vector.tolist()]


def test_a_tie_of_votes_elects_plus() -> None:
    tensors = {name: np.array(values, np.float32) for name, values in [("base", [0]), ("a", [2]), ("b", [-2])]}

    assert merged(Ties({"a": 0.5, "b": 0.5}, 1.0, 1.0, "weight"), tensors).tolist() == [2]
    assert merged(Ties({"a": 0.1, "b": 0.9}, 1.0, 1.0, "count"), tensors).tolist() == [2]
    assert merged(Ties({"a": 0.1, "b": 0.9}, 1.0, 1.0, "weight"), tensors).tolist() == [-2]


@given(st.integers(0, 2**32), st.floats(0, 1), st.integers(1, 300))
@settings(deadline=None, max_examples=50)
def test_ties_of_all_values_with_one_sign_is_the_weighted_mean(seed: int, first: float, size: int) -> None:
    generator = np.random.default_rng(seed)
    base = generator.standard_normal(size)
    up = np.sign(generator.standard_normal(size))
    tensors = {"base": base} | {name: base + up * generator.uniform(0.1, 1, size) for name in ("a", "b")}
    single = {name: values.astype(np.float32) for name, values in tensors.items()}
    weights = {name: weight for name, weight in {"a": first, "b": 1 - first}.items() if weight > 1e-30}

    ours = merged(Ties(weights, 1.0, 1.0, "weight"), single)

    assert ulps(ours, reference.stage_1(exact(single), weights), single) <= 2


@pytest.mark.parametrize("election", ["none", "weight", "count"])
@pytest.mark.parametrize("density", [0.01, 0.3, 0.9, 1.0])
def test_dare_drops_scales_up_and_sums_or_elects(election: str, density: float) -> None:
    tensors = models(5_001, names=tuple(THREE))

    ours = merged(Dare(THREE, 0.6, density, election, 2**63 - 1), tensors, block=999)  # type: ignore[arg-type]

    expected = reference.dare(exact(tensors), THREE, 0.6, density, election, seed=2**63 - 1, tensor="w")
    assert ulps(ours, expected, tensors, 0.6 / density) <= 2


def test_dare_s_mean_over_seeds_is_the_task_vector() -> None:
    size, seeds, density = 4_000, 50, 0.25
    tensors = {"base": np.zeros(size, np.float32), "instruct": np.ones(size, np.float32)}

    runs = np.array([merged(Dare({"instruct": 1.0}, 1.0, density, "none", seed), tensors) for seed in range(seeds)])

    assert set(np.unique(runs)) == {0.0, 1 / density}
    deviation = (1 / density - 1) ** 0.5  # of one element of one run
    assert abs(runs.mean() - 1) < 4 * deviation / (size * seeds) ** 0.5
    assert np.abs(runs.mean(0) - 1).max() < 5 * deviation / seeds**0.5  # every element
    assert np.abs(runs.mean(1) - 1).max() < 4 * deviation / size**0.5  # every seed


def test_dare_s_masks_differ_by_seed_member_and_tensor_and_are_independent() -> None:
    size = 20_000
    keys = [(0, "a", "v"), (1, "a", "v"), (0, "b", "v"), (0, "a", "w")]
    tensors = {"base": np.zeros(size, np.float32), "a": np.ones(size, np.float32), "b": np.ones(size, np.float32)}

    masks = np.array(
        [
            merged(
                Dare({member: 1.0}, 1.0, 0.5, "none", seed), tensors, tensor=TensorInfo(name, (size,), "other", None)
            )
            for seed, member, name in keys
        ]
    )

    correlations = np.corrcoef(masks)[np.triu_indices(len(keys), 1)]
    assert np.abs(correlations).max() < 4 / size**0.5


@given(
    st.sampled_from(sorted(ALL)), st.integers(1, 20_000), st.integers(1, 3), st.integers(0, 99), st.integers(1, 9_000)
)
@settings(deadline=None, max_examples=150)
def test_no_bit_depends_on_blocks_or_threads(name: str, block: int, threads: int, seed: int, size: int) -> None:
    tensors = models(size, seed)

    whole = merged(ALL[name], tensors, block=10**6)

    block = max(block, size // 50)  # not too many
    assert merged(ALL[name], tensors, block, threads).tobytes() == whole.tobytes()


class Surveyed(Method):
    """A method, and what its surveys found."""

    def __init__(self, method: Method) -> None:
        self._method = method
        self.found: list[Any] = []

    @property
    def members(self) -> tuple[str, ...]:
        return self._method.members

    @property
    def surveys(self) -> int:
        return self._method.surveys

    def survey(self, tensor: TensorInfo, blocks: Iterable[Block]) -> object:
        self.found.append(self._method.survey(tensor, blocks))
        return self.found[-1]

    def combine(self, block: Block, survey: Any) -> Values:
        return self._method.combine(block, survey)


def test_slerp_s_coefficients_do_not_depend_on_blocks_and_are_those_of_float64() -> None:
    tensors = models(100_003, spread=1.0)
    method = Surveyed(Slerp(0.3, {"instruct": 1.0}))

    for block in (10**6, 1013, 4096, 8191, 8192, 65536):
        merged(method, tensors, block)

    assert len(set(method.found)) == 1
    base, sft = exact(tensors)["base"], exact(tensors)["instruct"]
    angle = np.arccos(base @ sft / np.linalg.norm(base) / np.linalg.norm(sft))
    expected = np.sin(np.array([0.3, 0.7]) * angle) / np.sin(angle)
    np.testing.assert_allclose(method.found[0], expected, rtol=1e-13)


@pytest.mark.parametrize(("cosine", "flat"), [(0.9994, False), (0.9996, True), (-0.9994, False), (-0.9996, True)])
def test_slerp_is_flat_beyond_a_cosine_of_0_9995(cosine: float, flat: bool) -> None:
    tensors = {"base": np.array([1, 0], np.float32), "a": np.array([cosine, (1 - cosine**2) ** 0.5], np.float32)}
    method = Surveyed(Slerp(0.25, {"a": 1.0}))

    merged(method, tensors)

    assert (method.found[0] == (0.25, 0.75)) is flat


@pytest.mark.parametrize(
    "method",
    [
        Linear(1.0, WEIGHTS),
        Depth(1.0, WEIGHTS, (1.0, 1.0, 1.0), {}),
        Slerp(1.0, WEIGHTS),
        TaskArithmetic(WEIGHTS, 0.0),
        Ties(WEIGHTS, 0.0, 0.4, "weight"),
        Dare(WEIGHTS, 0.0, 0.4, "none", 0),
        Dare(WEIGHTS, 0.0, 0.4, "count", 0),
    ],
    ids=lambda method: type(method).__name__,
)
def test_an_alpha_of_1_is_the_base_and_reads_nothing_else(method: Method) -> None:
    tensors = models(3_000)

    assert method.members == ("base",)
    assert method.surveys == 0
    assert merged(method, tensors).tobytes() == tensors["base"].tobytes()


@pytest.mark.parametrize("method", [Slerp(0.0, WEIGHTS), Depth(0.0, WEIGHTS, (0.0, 0.0, 0.0), {})])
def test_an_alpha_of_0_is_stage_1_and_does_not_read_the_base(method: Method) -> None:
    tensors = models(3_000)

    assert method.members == ("instruct", "distilled")
    assert method.surveys == 0
    assert merged(method, tensors).tobytes() == merged(Linear(0.0, WEIGHTS), tensors).tobytes()


def test_task_arithmetic_of_one_model_with_scale_1_is_that_model_up_to_a_rounding() -> None:
    tensors = models(3_000)

    ours = merged(TaskArithmetic({"instruct": 1.0}, 1.0), tensors)

    assert ulps(ours, tensors["instruct"].astype(np.float64), tensors) <= 2


@pytest.mark.parametrize(("method", "surveys"), [("slerp", 1), ("ties by weight", 2), ("dare", 0), ("linear", 0)])
def test_a_survey_is_counted_as_often_as_it_reads(method: str, surveys: int) -> None:
    tensors = models(100)
    info = TensorInfo("w", (100,), "other", None)
    members = {name: ArrayTensors({"w": values}) for name, values in tensors.items()}

    run([info], members, ALL[method], ArraySink([info]), threads=1, block=100)

    assert ALL[method].surveys == surveys
    assert [len(member.reads) for member in members.values()] == [1 + surveys] * 3
