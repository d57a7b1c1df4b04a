"""Reading models in pieces, against the bytes that were written."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from bai_sweep.merging._types import Tensors
from bai_sweep.merging.inputs import Checkpoint, open_members
from bai_sweep.merging.inputs import _checkpoint as module
from bai_sweep.records import UserError
from tests.unit.merging.inputs_helpers import exact, packed, stored_bytes, values_of, write

RANDOM = np.random.default_rng(4)
DTYPES = ("F64", "F32", "F16", "BF16")
Entries = dict[str, tuple[str, list[int], bytes]]


def mixed(scale: float = 1.0) -> Entries:
    """A tensor of each dtype, of one to four dimensions, one of them larger than a thread's buffer."""
    shapes = {"F64": (5, 3, 2), "F32": (7,), "F16": (70_000, 3), "BF16": (2, 3, 4, 5)}
    return {f"t.{d}": stored_bytes(scale * RANDOM.standard_normal(shape), d) for d, shape in shapes.items()}


def open_files() -> int:
    """How many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def index_of(folder: Path, weight_map: Mapping[str, object]) -> Path:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def sharded(folder: Path, entries: Entries) -> Path:
    """One shard for each tensor."""
    for number, (name, entry) in enumerate(entries.items()):
        write(folder / f"model-{number}.safetensors", {name: entry})
    return index_of(folder, {name: f"model-{number}.safetensors" for number, name in enumerate(entries)})


def require_equal(tensors: Tensors, entries: Entries) -> None:
    assert set(tensors.specs) == set(entries)
    for name, entry in entries.items():
        with np.errstate(over="ignore"):
            expected = exact(entry).astype(np.float32)
        np.testing.assert_array_equal(values_of(tensors, name), expected, err_msg=name)


def test_every_dtype_is_read_exactly(tmp_path: Path) -> None:
    entries = mixed()
    write(tmp_path / "model.safetensors", entries)

    with Checkpoint.of(tmp_path) as tensors:
        assert isinstance(tensors, Checkpoint)
        require_equal(tensors, entries)


def test_sharded_and_whole_checkpoints_read_alike(tmp_path: Path) -> None:
    entries = mixed()
    write(tmp_path / "whole" / "model.safetensors", entries)
    sharded(tmp_path / "sharded", entries)

    with Checkpoint.of(tmp_path / "whole") as whole, Checkpoint.of(tmp_path / "sharded") as shards:
        require_equal(shards, entries)
        assert whole.specs == shards.specs
        assert [file.name for file in shards.files] == [f"model-{number}.safetensors" for number in range(4)]


def test_shards_without_an_index_are_all_read(tmp_path: Path) -> None:
    entries = mixed()
    sharded(tmp_path, entries)
    (tmp_path / "model.safetensors.index.json").unlink()

    with Checkpoint.of(tmp_path) as tensors:
        require_equal(tensors, entries)


def test_a_model_of_links_is_read_as_what_they_point_to(tmp_path: Path) -> None:
    entries = mixed()
    blob = write(tmp_path / "blobs" / "0123", entries)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").symlink_to(blob)

    with Checkpoint.of(tmp_path / "model") as tensors:
        require_equal(tensors, entries)


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_piece_of_a_tensor_is_that_piece_of_the_whole(tmp_path: Path, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(DTYPES))
    size = data.draw(st.integers(1, 300))
    odd = data.draw(st.integers(0, 3))  # puts the tensor at an odd place in the file
    entry = stored_bytes(np.random.default_rng(size).standard_normal(size), dtype)
    write(tmp_path / "model.safetensors", {"mask": ("U8", [odd], bytes(odd)), "t": entry})
    start = data.draw(st.integers(0, size))
    count = data.draw(st.integers(0, size - start))

    with Checkpoint.of(tmp_path) as tensors, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BUFFER", 64)
        into = np.full(count, np.nan, np.float32)
        tensors.read("t", start, into)

    np.testing.assert_array_equal(into, exact(entry)[start : start + count].astype(np.float32))


def test_a_piece_may_be_read_into_any_vector(tmp_path: Path) -> None:
    entries = {"t": stored_bytes(RANDOM.standard_normal(40), "F32")}
    write(tmp_path / "model.safetensors", entries)
    every_other = np.zeros(80, np.float32)[::2]

    with Checkpoint.of(tmp_path) as tensors:
        tensors.read("t", 0, every_other)

    np.testing.assert_array_equal(every_other, exact(entries["t"]).astype(np.float32))


@pytest.mark.parametrize(("start", "count"), [(-1, 2), (39, 2), (41, 0)])
def test_a_piece_outside_its_tensor_is_an_error(tmp_path: Path, start: int, count: int) -> None:
    write(tmp_path / "model.safetensors", {"t": stored_bytes(np.zeros(40), "BF16"), "u": ("BF16", [40], bytes(80))})

    with Checkpoint.of(tmp_path) as tensors, pytest.raises(ValueError, match="t has 40 elements"):
        tensors.read("t", start, np.empty(count, np.float32))


def test_four_threads_read_what_one_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = mixed()
    widen = module.widen

    def widen_later(*arguments: Any) -> None:
        time.sleep(0.001)  # for the other threads to read meanwhile
        widen(*arguments)

    monkeypatch.setattr(module, "widen", widen_later)
    sharded(tmp_path, entries)
    names = [name for name in entries for _ in range(20)]

    with Checkpoint.of(tmp_path) as tensors, ThreadPoolExecutor(4) as pool:
        read = list(pool.map(lambda name: values_of(tensors, name), names))

    for name, values in zip(names, read, strict=True):
        np.testing.assert_array_equal(values, exact(entries[name]).astype(np.float32), err_msg=name)


def test_tensors_without_floating_numbers_are_listed_and_copied_not_read(tmp_path: Path) -> None:
    counter = ("I64", [2], np.array([3, 4], "<i8").tobytes())
    write(tmp_path / "model.safetensors", {"w": stored_bytes(np.ones(3), "BF16"), "position_ids": counter})

    with Checkpoint.of(tmp_path) as tensors:
        assert set(tensors.specs) == {"w", "position_ids"}
        assert set(tensors.other) == {"position_ids"}
        assert tensors.raw("position_ids") == counter[2]
        with pytest.raises(UserError, match=r"position_ids in .* is I64"):
            tensors.read("position_ids", 0, np.empty(2, np.float32))


def test_rotary_buffers_of_old_versions_are_left_out(tmp_path: Path) -> None:
    buffer = "model.layers.0.self_attn.rotary_emb.inv_freq"
    entries = {"w": stored_bytes(np.ones(3), "BF16"), buffer: stored_bytes(np.ones(2), "F32")}
    write(tmp_path / "whole" / "model.safetensors", entries)
    sharded(tmp_path / "named", entries)
    index_of(sharded(tmp_path / "unnamed", entries), {"w": "model-0.safetensors"})

    for folder in tmp_path.iterdir():
        with Checkpoint.of(folder) as tensors:
            assert set(tensors.specs) == {"w"}


def test_files_are_closed_and_opened_for_reading_only(tmp_path: Path) -> None:
    write(tmp_path / "model.safetensors", mixed())
    (tmp_path / "model.safetensors").chmod(0o444)
    before = open_files()

    with Checkpoint.of(tmp_path) as tensors:
        assert open_files() == before + 1
    tensors.close()

    assert open_files() == before
    with pytest.raises(ValueError, match="was closed"):
        values_of(tensors, "t.F32")


def test_a_file_that_cannot_be_opened_leaves_none_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sharded(tmp_path, mixed())
    opened = os.open
    before = open_files()

    def refuse_the_last(path: Path, flags: int) -> int:
        if Path(path).name == "model-3.safetensors":
            raise PermissionError(13, "Permission denied", str(path))
        assert flags & (os.O_WRONLY | os.O_RDWR) == 0
        return opened(path, flags)

    monkeypatch.setattr(module.os, "open", refuse_the_last)

    with pytest.raises(UserError, match=r"model-3\.safetensors: cannot be read \(Permission denied\)"):
        Checkpoint.of(tmp_path)
    assert open_files() == before


@pytest.mark.parametrize("name", ["t.F32", "t.BF16", "t.F16"])
def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path, name: str) -> None:
    file = write(tmp_path / "model.safetensors", {name: mixed()[name]})

    with Checkpoint.of(tmp_path) as tensors:
        os.truncate(file, file.stat().st_size - 1)
        with pytest.raises(UserError, match=r"model\.safetensors: the file ends at byte \d+, in the middle"):
            values_of(tensors, name)


def test_a_read_that_fails_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "model.safetensors", mixed())

    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    with Checkpoint.of(tmp_path) as tensors:
        monkeypatch.setattr(module.os, "preadv", fail)
        with pytest.raises(UserError, match=r"model\.safetensors: reading failed \(Input/output error\)"):
            values_of(tensors, "t.F32")


def test_a_kernel_that_gives_little_at_a_time_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = {"t": stored_bytes(RANDOM.standard_normal(1000), "BF16"), "u": stored_bytes(np.arange(9.0), "F32")}
    write(tmp_path / "model.safetensors", entries)
    whole = os.preadv
    monkeypatch.setattr(module.os, "preadv", lambda file, views, place: whole(file, [views[0][:7]], place))

    with Checkpoint.of(tmp_path) as tensors:
        require_equal(tensors, entries)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    sharded(tmp_path, mixed())
    (tmp_path / "model-1.safetensors").unlink()

    with pytest.raises(UserError, match=r"names shards that are not there: model-1\.safetensors; fetch them again"):
        Checkpoint.of(tmp_path)


def test_a_folder_in_place_of_a_shard_is_named(tmp_path: Path) -> None:
    sharded(tmp_path, mixed())
    (tmp_path / "model-1.safetensors").unlink()
    (tmp_path / "model-1.safetensors").mkdir()

    with pytest.raises(UserError, match=r"model-1\.safetensors: a checkpoint is made of files; this is none"):
        Checkpoint.of(tmp_path)


def test_a_broken_shard_is_named(tmp_path: Path) -> None:
    sharded(tmp_path, mixed())
    shard = tmp_path / "model-2.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])

    with pytest.raises(UserError, match=r"model-2\.safetensors: this is no whole safetensors file.*fetch it again"):
        Checkpoint.of(tmp_path)


@pytest.mark.parametrize(
    ("weight_map", "said"),
    [
        ({"a": "1.safetensors"}, "does not name b, which its shards hold"),
        ({"a": "1.safetensors", "b": "1.safetensors", "c": "1.safetensors"}, "not in their shards: c"),
        ({"a": "2.safetensors", "b": "1.safetensors"}, "not in their shards: a"),
        (
            {"a": "3.safetensors", "b": "1.safetensors"},
            r"in one file of a checkpoint; a in .*1\.saf.* and in .*3\.saf",
        ),
        ({}, "names for each tensor a file beside it"),
        ([], "names for each tensor a file beside it"),
        (None, "names for each tensor a file beside it"),
        ({"a": 1}, "names for each tensor a file beside it"),
        ({"a": "../1.safetensors"}, "names for each tensor a file beside it"),
        ({"a": "/etc/passwd"}, "names for each tensor a file beside it"),
        ({"a": ".."}, "names for each tensor a file beside it"),
    ],
)
def test_an_index_that_contradicts_its_shards_is_refused(tmp_path: Path, weight_map: object, said: str) -> None:
    one = stored_bytes(np.ones(2), "F32")
    write(tmp_path / "1.safetensors", {"a": one, "b": one})
    write(tmp_path / "2.safetensors", {"d": one})
    write(tmp_path / "3.safetensors", {"a": one})
    index_of(tmp_path, weight_map)  # type: ignore[arg-type]

    with pytest.raises(UserError, match=said) as caught:
        Checkpoint.of(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "\ufeff{}"])
def test_an_index_that_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(text, encoding="utf-8")

    with pytest.raises(UserError, match=r"index\.json: .*fetch it again"):
        Checkpoint.of(tmp_path)


def test_a_tensor_in_two_files_without_an_index_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "1.safetensors", {"a": stored_bytes(np.ones(2), "F32")})
    write(tmp_path / "2.safetensors", {"a": stored_bytes(np.ones(2), "F32")})

    with pytest.raises(UserError, match=r"a in .*1\.safetensors and in .*2\.safetensors: remove the file"):
        Checkpoint.of(tmp_path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pytorch_model.bin", r"a pickle \(pytorch_model\.bin\) runs code"),
        ("model.pt", r"a pickle \(model\.pt\)"),
        ("model.pth", r"a pickle \(model\.pth\)"),
        ("tf_model.h5", r"it has tf_model\.h5"),
        ("model-q4.gguf", r"it has model-q4\.gguf"),
    ],
)
def test_other_formats_are_refused_with_the_way_to_convert_them(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / name).write_bytes(b"")

    with pytest.raises(UserError, match=said) as caught:
        Checkpoint.of(tmp_path, "owner/name@v1")

    assert "from_pretrained('owner/name', revision='v1', dtype=\"auto\").save_pretrained(" in str(caught.value)


def test_a_folder_without_weights_has_nothing_to_convert(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(b"")

    with pytest.raises(
        UserError, match=r"^owner/name: weights are read from \*\.safetensors, and \S+ holds no weights"
    ):
        Checkpoint.of(tmp_path, "owner/name")


def test_a_pickle_beside_safetensors_is_left_alone(tmp_path: Path) -> None:
    entries = mixed()
    write(tmp_path / "model.safetensors", entries)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")

    with Checkpoint.of(tmp_path) as tensors:
        require_equal(tensors, entries)


@pytest.mark.parametrize(
    ("config", "dtype", "said"),
    [
        ({"quantization_config": {"quant_method": "gptq"}}, "F32", r"a quantised checkpoint \(gptq\)"),
        ({"quantization_config": {"load_in_4bit": True}}, "F32", "of a method that it does not name"),
        ({}, "F8_E4M3", "layer.weight is F8_E4M3"),
        ({}, "I8", "layer.weight is I8"),
    ],
)
def test_quantised_models_are_refused_with_the_way_to_dequantise(
    tmp_path: Path, config: dict[str, object], dtype: str, said: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    size = 4 if dtype == "F32" else 1
    write(tmp_path / "model.safetensors", {"layer.weight": (dtype, [2], bytes(2 * size))})

    with pytest.raises(UserError, match=said) as caught, open_members({"base": str(tmp_path)}):
        pass

    assert "model.dequantize().save_pretrained(" in str(caught.value)


def test_float64_weights_are_no_quantised_ones(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    stored = np.array([0.1, -2.0], "<f8")
    write(tmp_path / "model.safetensors", {"layer.weight": ("F64", [2], stored.tobytes())})

    with open_members({"base": str(tmp_path)}) as members:
        found = values_of(members["base"].tensors, "layer.weight")

    np.testing.assert_array_equal(found, stored.astype(np.float32))


def test_a_pointer_of_git_lfs_is_known_for_what_it_is(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 988097824\n"
    (tmp_path / "model.safetensors").write_text(pointer)

    with pytest.raises(UserError, match=r"git's pointer to one; `git lfs pull` fetches"):
        Checkpoint.of(tmp_path)


def test_a_file_of_the_formats_own_writer_is_read(tmp_path: Path) -> None:
    experts = RANDOM.standard_normal((4, 6, 5)).astype(np.float32)  # fused experts have three dimensions
    save_file({"experts.gate_up_proj": experts, "mask": np.array([True])}, tmp_path / "model.safetensors")

    with Checkpoint.of(tmp_path) as tensors:
        np.testing.assert_array_equal(values_of(tensors, "experts.gate_up_proj"), experts)
        assert tensors.other["mask"].dtype == "BOOL"


def test_a_header_is_not_believed_when_the_file_is_opened(tmp_path: Path) -> None:
    header = {"t": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}
    (tmp_path / "model.safetensors").write_bytes(packed(header, bytes(16)))

    with pytest.raises(UserError, match="its tensors end at byte"):
        Checkpoint.of(tmp_path)


def _written(file: Path) -> None:
    """The same size and, as some programs do, the time of the last write set back."""
    before = file.stat()
    with file.open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"\x01")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replaced(file: Path) -> None:
    (file.parent / "new").write_bytes(file.read_bytes())
    (file.parent / "new").replace(file)


@pytest.mark.parametrize("change", [_written, _replaced, Path.unlink], ids=["written to", "replaced", "removed"])
def test_a_file_that_changes_while_it_is_read_is_named(tmp_path: Path, change: Callable[[Path], None]) -> None:
    folder = sharded(tmp_path / "model", mixed())

    with Checkpoint.of(folder) as checkpoint:
        size = checkpoint.files[1].stat().st_size
        checkpoint.files[1].read_bytes()
        assert checkpoint.changed() is None
        time.sleep(0.02)  # the clock of a file system is coarse
        change(checkpoint.files[1])

        assert checkpoint.changed() == checkpoint.files[1]
        assert not checkpoint.files[1].exists() or checkpoint.files[1].stat().st_size == size
