"""Shard layouts and the files they describe, read back by the format's own reader."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file

from bai_sweep.merging._types import Dtype, TensorSpec
from bai_sweep.merging.output import FileSink, _sink, plan_shards
from bai_sweep.records import UserError
from tests.unit.merging.output_helpers import tensors_in, values

TORCH: dict[Dtype, torch.dtype] = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
SHAPES = st.lists(st.lists(st.integers(0, 7), min_size=0, max_size=3).map(tuple), min_size=1, max_size=6)


def written(
    folder: Path, shapes: list[tuple[int, ...]], dtype: Dtype, *, max_bytes: int = 10**9, piece: int, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Writes seeded tensors in pieces, in a mixed-up order, and returns what they should be."""
    folder.mkdir(parents=True)
    specs = {f"t{i}": TensorSpec(shape, dtype) for i, shape in enumerate(shapes)}
    flat = {name: values(spec.size, seed + i) for i, (name, spec) in enumerate(specs.items())}
    pieces = [(name, start) for name, v in flat.items() for start in range(0, v.size, piece)]
    np.random.default_rng(seed).shuffle(pieces)
    with FileSink(folder, plan_shards(specs, max_bytes), dtype) as sink:
        for name, start in pieces:
            sink.write(name, int(start), flat[name][int(start) : int(start) + piece])
    return {n: torch.from_numpy(flat[n]).reshape(spec.shape).to(TORCH[dtype]) for n, spec in specs.items()}


@given(SHAPES, st.sampled_from(["F32", "BF16", "F16"]), st.integers(1, 2000), st.integers(1, 50), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_the_rounded_values_whatever_the_shards_and_pieces(  # noqa: PLR0917 - Hypothesis gives them
    tmp_path_factory: pytest.TempPathFactory,
    shapes: list[tuple[int, ...]],
    dtype: Dtype,
    max_bytes: int,
    piece: int,
    seed: int,
) -> None:
    folder = tmp_path_factory.mktemp("sink") / "out"

    expected = written(folder, shapes, dtype, max_bytes=max_bytes, piece=piece, seed=seed)

    found = tensors_in(folder)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert found[name].float().numpy().tobytes() == tensor.float().numpy().tobytes()


def test_threads_write_side_by_side(tmp_path: Path) -> None:
    size, piece = 400_000, 4001  # numpy gives up the interpreter's lock for pieces as long as this
    specs = {name: TensorSpec((size,), "BF16") for name in "abcd"}
    flat = {name: values(size, seed) for seed, name in enumerate(specs)}
    with FileSink(tmp_path, plan_shards(specs, 100_000), "BF16") as sink:

        def write(first: int) -> None:
            for start in range(first * piece, size, piece * 4):
                for name in specs:
                    sink.write(name, start, flat[name][start : start + piece])

        threads = [threading.Thread(target=write, args=(first,)) for first in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    found = tensors_in(tmp_path)
    assert all(torch.equal(found[name], torch.from_numpy(flat[name]).bfloat16()) for name in specs)


def test_threads_round_in_rooms_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both, whole = threading.Barrier(2, timeout=60), _sink.narrow

    def narrow(*given: Any) -> bool:
        finite = whole(*given)
        both.wait()  # neither stores before both have rounded
        return finite

    monkeypatch.setattr(_sink, "narrow", narrow)
    specs = {name: TensorSpec((50,), "BF16") for name in "ab"}
    flat = {name: values(50, seed) for seed, name in enumerate(specs)}
    with FileSink(tmp_path, plan_shards(specs, 10**9), "BF16") as sink:
        other = threading.Thread(target=sink.write, args=("a", 0, flat["a"]))
        other.start()
        sink.write("b", 0, flat["b"])
        other.join()

    found = tensors_in(tmp_path)
    assert all(torch.equal(found[name], torch.from_numpy(flat[name]).bfloat16()) for name in specs)


def test_shards_are_filled_in_order_and_a_tensor_is_never_split() -> None:
    sizes = {"a": 40, "b": 50, "c": 20, "huge": 500, "d": 10}
    layout = plan_shards({name: TensorSpec((size,), "F16") for name, size in sizes.items()}, 200)

    files: dict[str, list[str]] = {}
    for name, place in layout.places.items():
        files.setdefault(place.file, []).append(name)
    assert files == {
        "model-00001-of-00004.safetensors": ["a", "b"],
        "model-00002-of-00004.safetensors": ["c"],
        "model-00003-of-00004.safetensors": ["huge"],
        "model-00004-of-00004.safetensors": ["d"],
    }
    index = json.loads(layout.index() or "")
    assert index["metadata"] == {"total_size": 2 * sum(sizes.values())}
    assert index["weight_map"]["huge"] == "model-00003-of-00004.safetensors"


def test_one_file_needs_no_index_and_says_whose_format_it_is(tmp_path: Path) -> None:
    written(tmp_path / "out", [(3,), (5, 2)], "BF16", piece=4)

    assert [file.name for file in (tmp_path / "out").iterdir()] == ["model.safetensors"]
    with safe_open(tmp_path / "out" / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_data_begins_at_a_multiple_of_eight_and_wide_elements_come_first(tmp_path: Path) -> None:
    specs = {"odd": TensorSpec((3,), "BF16"), "ids": TensorSpec((2,), "I64"), "mask": TensorSpec((5,), "BOOL")}
    layout = plan_shards(specs, 10**9)

    ids = np.array([7, -(2**40)]).tobytes()
    with FileSink(tmp_path, layout, "BF16") as sink:
        sink.write("odd", 0, np.array([1.0, 2.0, -3.0], np.float32))
        sink.write_bytes("ids", ids)
        sink.write_bytes("mask", bytes([1, 0, 0, 1, 1]))

    assert all(layout.places[name].offset % width == 0 for name, width in {"ids": 8, "odd": 2, "mask": 1}.items())
    found = load_file(tmp_path / "model.safetensors")
    assert found["ids"].tolist() == [7, -(2**40)]
    assert found["mask"].tolist() == [True, False, False, True, True]
    assert found["odd"].tolist() == [1.0, 2.0, -3.0]


def test_the_layout_knows_the_size_of_its_files(tmp_path: Path) -> None:
    specs = {f"t{i}": TensorSpec((i, 3), "F32") for i in range(9)}
    layout = plan_shards(specs, 100)

    FileSink(tmp_path, layout, "F32").close()

    assert layout.size == sum(file.stat().st_size for file in tmp_path.glob("*.safetensors"))


@pytest.mark.parametrize(
    ("dtype", "largest", "least_too_large"),
    [
        ("F16", 65519.996, 65520.0),
        ("BF16", float(np.uint32(0x7F7F7FFF).view(np.float32)), float(np.uint32(0x7F7F8000).view(np.float32))),
    ],
)
def test_a_value_that_would_become_infinite_is_refused(
    tmp_path: Path, dtype: Dtype, largest: float, least_too_large: float
) -> None:
    layout = plan_shards({"model.norm.weight": TensorSpec((6,), dtype)}, 10**9)
    with FileSink(tmp_path, layout, dtype) as sink:
        sink.write("model.norm.weight", 0, np.array([0.0, -largest, largest], np.float32))
        with pytest.raises(UserError, match=rf"model.norm.weight, element 4: -.* {dtype} holds.*dtype=bfloat16"):
            sink.write("model.norm.weight", 3, np.array([0.0, -least_too_large, 0.0], np.float32))

    assert load_file(tmp_path / "model.safetensors")["model.norm.weight"].isfinite().all()


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16"])
def test_a_value_that_is_not_finite_is_refused(tmp_path: Path, dtype: Dtype, value: float) -> None:
    layout = plan_shards({"w": TensorSpec((2000,), dtype)}, 10**9)
    given = values(2000)
    given[1234] = value
    with (
        FileSink(tmp_path, layout, dtype) as sink,
        pytest.raises(UserError, match=f"w, element 1,234 is {value}; a model with"),
    ):
        sink.write("w", 0, given)


def test_a_full_disk_in_mid_write_is_said_with_both_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = plan_shards({"w": TensorSpec((1000,), "F32")}, 10**9)
    sink = FileSink(tmp_path, layout, "F32")

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with (
        sink,
        pytest.raises(
            UserError,
            match=rf"disk full while writing model.safetensors: {layout.size:,} bytes needed, [\d,]+ free at /",
        ),
    ):
        sink.write("w", 0, values(10))


def test_a_disk_that_takes_a_part_is_asked_for_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = plan_shards({"w": TensorSpec((1000,), "F32")}, 10**9)
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, offset: whole(file, data[:7], offset))

    with FileSink(tmp_path, layout, "F32") as sink:
        sink.write("w", 0, values(1000))

    assert load_file(tmp_path / "model.safetensors")["w"].tolist() == values(1000).tolist()


def failing(code: int) -> Callable[..., int]:
    import ctypes

    def fallocate(*_: int) -> int:
        ctypes.set_errno(code)
        return -1

    return fallocate


@pytest.mark.parametrize("fallocate", [None, failing(errno.EOPNOTSUPP)])
def test_a_file_system_that_cannot_allocate_is_written_to_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fallocate: Callable[..., int] | None
) -> None:
    monkeypatch.setattr(_sink, "_fallocate", lambda: fallocate)

    expected = written(tmp_path / "out", [(100, 7)], "BF16", piece=64)

    assert torch.equal(tensors_in(tmp_path / "out")["t0"], expected["t0"])


def test_a_disk_without_room_for_a_file_shows_when_the_sink_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sink, "_fallocate", lambda: failing(errno.ENOSPC))

    with pytest.raises(UserError, match=r"disk full while writing model.safetensors"):
        FileSink(tmp_path, plan_shards({"w": TensorSpec((1000,), "F32")}, 10**9), "F32")


def test_too_many_shards_for_a_process_are_named_with_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "open", refused)

    with pytest.raises(
        UserError, match=r"all 3 files of the model are open at once.* \(ulimit -n\) or max_shard_size"
    ):
        FileSink(tmp_path, plan_shards({name: TensorSpec((9,), "F32") for name in "abc"}, 1), "F32")
