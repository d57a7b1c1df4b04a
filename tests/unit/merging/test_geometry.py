"""What is measured of a merge, against whole arrays in float64."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bai_sweep.merging._types import TensorInfo
from bai_sweep.merging.geometry import Geometry
from bai_sweep.merging.geometry._runs import RUN, SPACING, Runs
from tests.unit.merging.geometry_helpers import InMemory, arrays_of, expected, linear, looked

TENSORS = (
    TensorInfo("model.embed_tokens.weight", (300, 64), "embeddings", None),
    TensorInfo("model.layers.10.mlp.up_proj.weight", (64, 200), "mlp", 1.0),
    TensorInfo("model.layers.2.self_attn.q_proj.weight", (64, 64), "attention", 0.0),
    TensorInfo("model.layers.2.mlp.experts.7.up_proj.weight", (50, 64), "mlp", 0.0),
    TensorInfo("model.norm.weight", (64,), "norms", None),
    TensorInfo("lm_head.weight", (300, 64), "head", None),
)
MEMBERS = ("base", "instruct", "distilled")
FIGURES = ("norms", "distances", "cosines", "task_vectors", "conflict")


def close(found: Any, wanted: Any) -> None:
    """The same keys, and numbers within 1e-9 of each other."""
    if isinstance(wanted, dict):
        assert list(found) == list(wanted)
        for key in wanted:
            close(found[key], wanted[key])
    else:
        assert found == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def flat(arrays: dict[str, dict[str, Any]], names: list[str], alpha: float = 0.5) -> dict[str, Any]:
    """The named tensors of each model and of the linear merge, as one float64 vector each."""
    models = {m: np.concatenate([a[n] for n in names]).astype(np.float64) for m, a in arrays.items()}
    merged = []
    for name in names:  # the merge is measured in float32, as it is computed
        half = np.float32(0.5)
        stage = half * arrays["instruct"][name] + half * arrays["distilled"][name]
        merged.append(np.float32(alpha) * arrays["base"][name] + np.float32(1 - alpha) * stage)
    return models | {"merge": np.concatenate(merged).astype(np.float64)}


def test_every_figure_of_every_layer_is_that_of_the_whole_arrays() -> None:
    arrays = arrays_of(TENSORS, MEMBERS)

    summary = looked(TENSORS, arrays, linear(0.5, instruct=0.5, distilled=0.5), sample=False)

    groups: dict[int | str, list[str]] = {
        "embeddings": [TENSORS[0].name],
        2: [TENSORS[2].name, TENSORS[3].name],
        10: [TENSORS[1].name],
        "final norm": [TENSORS[4].name],
        "head": [TENSORS[5].name],
    }
    assert summary["share"] == 1.0
    assert [row["layer"] for row in summary["layers"]] == list(groups)
    assert [row["tensors"] for row in summary["layers"]] == [1, 2, 1, 1, 1]
    for row, names in zip(summary["layers"], groups.values(), strict=True):
        close({key: row[key] for key in FIGURES}, expected(flat(arrays, names)))
    everything = flat(arrays, [t.name for t in TENSORS])
    close({key: summary["total"][key] for key in FIGURES}, expected(everything))
    assert summary["total"]["elements"] == sum(t.size for t in TENSORS)


def test_models_that_hardly_differ_lose_no_digits_of_their_distance() -> None:
    tensor = TensorInfo("model.layers.0.w", (1000,), "mlp", 0.0)
    base = np.full(1000, 1000.0, np.float32)
    near = base + np.float32(2.0**-13)  # one ulp of 1000 is 2**-14

    summary = looked(
        [tensor], {"base": {tensor.name: base}, "a": {tensor.name: near}}, linear(0.5, a=1.0), sample=False
    )

    assert summary["total"]["distances"]["base~a"] == pytest.approx(2.0**-13 * np.sqrt(1000), rel=1e-12)


def test_opposite_task_vectors_are_in_conflict_everywhere_and_equal_ones_nowhere() -> None:
    tensor = TensorInfo("model.layers.0.w", (4,), "mlp", 0.0)
    base = np.zeros(4, np.float32)
    up = np.array([1, 2, 0, 4], np.float32)
    arrays = {m: {tensor.name: a} for m, a in {"base": base, "a": up, "b": -up, "c": up}.items()}

    conflict = looked([tensor], arrays, linear(0.5, a=0.5, b=0.25, c=0.25), sample=False)["total"]["conflict"]

    assert conflict["a~b"] == {"share": 0.75, "weighted": 1.0}  # the third element moves in neither
    assert conflict["a~c"] == {"share": 0.0, "weighted": 0.0}


def test_conflict_is_weighted_by_what_the_elements_moved() -> None:
    tensor = TensorInfo("model.layers.0.w", (2,), "mlp", 0.0)
    models = {"base": [0, 0], "a": [1, 10], "b": [-1, 9]}
    arrays = {m: {tensor.name: np.array(a, np.float32)} for m, a in models.items()}

    found = looked([tensor], arrays, linear(0.5, a=0.5, b=0.5), sample=False)["total"]["conflict"]["a~b"]

    assert found["share"] == 0.5
    assert found["weighted"] == pytest.approx(1 / 91, rel=1e-12)


def test_a_model_that_is_its_base_has_no_direction() -> None:
    arrays = arrays_of(TENSORS, ("base", "instruct"))
    arrays["distilled"] = arrays["base"]

    total = looked(TENSORS, arrays, linear(0.5, instruct=0.5, distilled=0.5), sample=False)["total"]

    assert total["task_vectors"]["norms"]["distilled"] == 0.0
    assert total["task_vectors"]["cosines"]["instruct~distilled"] is None
    assert total["conflict"]["instruct~distilled"]["weighted"] is None


def test_without_a_base_there_are_distances_and_no_task_vectors() -> None:
    arrays = arrays_of(TENSORS, ("instruct", "distilled"))

    total = looked(TENSORS, arrays, linear(0.0, instruct=0.5, distilled=0.5), sample=True)["total"]

    assert total["task_vectors"] is None
    assert total["conflict"] is None
    assert list(total["distances"]) == ["instruct~distilled", "instruct~merge", "distilled~merge"]


@settings(deadline=None, max_examples=25)
@given(
    sizes=st.lists(st.integers(1, 5 * RUN), min_size=1, max_size=3),
    blocks=st.lists(st.integers(500, 3 * RUN), min_size=2, max_size=2),
    sample=st.booleans(),
)
def test_the_summary_is_the_same_to_the_last_bit_for_any_block_and_threads(
    sizes: list[int], blocks: list[int], sample: bool
) -> None:
    tensors = [TensorInfo(f"model.layers.{k}.w", (size,), "mlp", 0.0) for k, size in enumerate(sizes)]
    arrays = arrays_of(tensors, MEMBERS)
    method = linear(0.3, instruct=0.5, distilled=0.5)

    one, other = (
        looked(tensors, arrays, method, sample=sample, threads=threads, block=block)
        for threads, block in zip((1, 4), blocks, strict=True)
    )

    assert json.dumps(one) == json.dumps(other)


def test_a_sample_stands_for_the_whole_and_says_how_large_it_is() -> None:
    size = 3 * SPACING + 5
    tensors = (
        TensorInfo("model.layers.0.w", (size,), "mlp", 0.0),
        TensorInfo("model.norm.weight", (64,), "norms", None),
    )
    arrays = arrays_of(tensors, MEMBERS)
    method = linear(0.5, instruct=0.5, distilled=0.5)

    part, whole = (looked(tensors, arrays, method, sample=sample, threads=2) for sample in (True, False))

    assert part["share"] == (4 * RUN + 64) / (size + 64)
    for figure in ("norms", "distances"):
        for name, value in whole["total"][figure].items():
            assert part["total"][figure][name] == pytest.approx(value, rel=0.02)
            assert part["layers"][1][figure][name] == whole["layers"][1][figure][name]  # a small tensor is read whole
    assert part["total"]["conflict"]["instruct~distilled"]["share"] == pytest.approx(0.5, abs=0.02)


def test_a_sampled_tensor_is_scaled_up_by_its_own_share() -> None:
    tensors = (
        TensorInfo("model.layers.0.a", (SPACING,), "mlp", 0.0),
        TensorInfo("model.layers.0.b", (99,), "mlp", 0.0),
    )
    arrays = {m: {t.name: np.full(t.size, v, np.float32) for t in tensors} for m, v in {"base": 1.0, "a": 3.0}.items()}

    total = looked(tensors, arrays, linear(0.5, a=1.0), sample=True)["total"]

    assert total["norms"]["base"] == pytest.approx(np.sqrt(SPACING + 99), rel=1e-12)
    assert total["distances"]["base~a"] == pytest.approx(2 * np.sqrt(SPACING + 99), rel=1e-12)


@settings(deadline=None)
@given(size=st.integers(1, 40 * SPACING), sample=st.booleans(), ends=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_runs_are_apart_inside_the_tensor_and_found_by_the_blocks_that_hold_them(
    size: int, sample: bool, ends: tuple[float, float]
) -> None:
    runs = Runs.of(size, sample=sample)
    places = [(runs.start(k), runs.stop(k)) for k in range(runs.count)]
    first, last = sorted(int(end * size) for end in ends)

    assert places[0][0] >= 0
    assert places[-1][1] <= size
    assert all(before[1] <= after[0] for before, after in pairwise(places))
    assert sum(stop - start for start, stop in places) == runs.elements
    if sample and size > SPACING:
        assert runs.elements <= size / 16
    if not sample:
        assert runs.elements == size
    if first < last:
        touched = [k for k, (start, stop) in enumerate(places) if start < last and stop > first]
        assert list(runs.within(first, last)) == touched


def test_a_summary_needs_the_whole_merge() -> None:
    arrays = arrays_of(TENSORS, MEMBERS)
    geometry = Geometry(TENSORS, {m: InMemory(a) for m, a in arrays.items()}, MEMBERS)

    with pytest.raises(RuntimeError, match=r"6 tensors are missing, as model\.embed_tokens"):
        geometry.summary()


def test_values_that_are_not_finite_leave_a_summary_that_is_json() -> None:
    tensor = TensorInfo("model.layers.0.w", (3,), "mlp", 0.0)
    values = {
        m: InMemory({tensor.name: np.array(v, np.float32)})
        for m, v in {"base": [1, np.inf, 1], "a": [1, np.inf, np.nan], "b": [0, 1, 2]}.items()
    }
    geometry = Geometry([tensor], values, ("base", "a", "b"))

    class Seen:
        start, size = 0, 3

        def __init__(self) -> None:
            self.tensor = tensor

    geometry.see(Seen(), np.ones(3, np.float32))  # type: ignore[arg-type]

    assert geometry.summary()["total"]["distances"]["base~a"] is None
    json.dumps(geometry.summary(), allow_nan=False)
