"""Headers that are true, and headers that are not."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open

from bai_sweep.merging._types import TensorSpec
from bai_sweep.merging.inputs._header import BITS, read_header
from bai_sweep.records import UserError
from tests.unit.merging.inputs_helpers import SIZES, header_of, packed, write

TWO = {"a": ("F32", [2, 3], bytes(24)), "b": ("BF16", [4], bytes(8))}
SAME_FOLDER = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def changed(**fields: object) -> bytes:
    """A file whose first tensor's entry says something else."""
    header = header_of(TWO)
    header["a"] |= fields
    return packed(header, bytes(32))


def test_a_header_gives_names_shapes_dtypes_and_places(tmp_path: Path) -> None:
    file = write(tmp_path / "model.safetensors", TWO)

    found = read_header(file)

    data = file.stat().st_size - 32
    assert {n: t.spec for n, t in found.items()} == {"a": TensorSpec((2, 3), "F32"), "b": TensorSpec((4,), "BF16")}
    assert [(t.offset, t.nbytes) for t in found.values()] == [(data, 24), (data + 24, 8)]


def test_an_empty_file_of_tensors_and_metadata_are_fine(tmp_path: Path) -> None:
    (tmp_path / "none.safetensors").write_bytes(packed({"__metadata__": {"format": "pt"}}, b""))

    assert read_header(tmp_path / "none.safetensors") == {}


def test_scalars_and_empty_tensors_have_their_places(tmp_path: Path) -> None:
    tensors = {"empty": ("F32", [0, 7], b""), "scalar": ("F32", [], bytes(4)), "none": ("F16", [0], b"")}
    found = read_header(write(tmp_path / "m.safetensors", tensors))

    assert {n: t.spec.size for n, t in found.items()} == {"empty": 0, "scalar": 1, "none": 0}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "begins with eight bytes"),
        (b"1234567", "begins with eight bytes"),
        ((50).to_bytes(8, "little") + b"{}", "would be 50 bytes long, and 2 bytes follow"),
        ((2**63).to_bytes(8, "little") + b"{}", "are the most"),
        (packed(b"", b""), "no JSON object"),
        (packed(b"[]", b""), "no JSON object"),
        (packed(b"{}x", b""), "Extra data"),
        (packed(b'{"a": ', b""), "Expecting value"),
        (packed(b'{"\xff": 1}', b""), "utf-8"),
        (packed(b'{"a":' * 100_000, b""), "no whole safetensors file"),
        (packed(b'{"a": 1}', b""), "a has no dtype"),
        (packed(b'{"__metadata__": 3}', b""), "no JSON object of tensors"),
        (packed(b'{"a": {}, "a": {}}', b""), "'a' twice"),
        (packed({"a": {}}, b""), "the dtype 'None'"),
        (changed(dtype="F33"), "the dtype 'F33'"),
        (changed(dtype=["F32"]), "the dtype"),
        (changed(shape=[2, -3]), "the shape"),
        (changed(shape=[2.0, 3]), "the shape"),
        (changed(shape=[True, 6]), "the shape"),
        (changed(shape=6), "the shape 6"),
        (changed(shape=[2, 4]), r"F32 of shape \[2, 4\], and has 24 bytes"),
        (changed(shape=[10**30, 3]), "and has 24 bytes"),
        (changed(data_offsets=[0]), "the offsets"),
        (changed(data_offsets=[24, 0]), "the offsets"),
        (changed(data_offsets=[0, "24"]), "the offsets"),
        (changed(data_offsets=[-24, 0]), "the offsets"),
        (changed(data_offsets=[4, 28]), "begins at byte"),
        (changed(data_offsets=[8, 32]), "begins at byte"),
        (changed(data_offsets=[32, 56]), "begins at byte"),
        (packed(header_of(TWO), bytes(31)), "its tensors end at byte"),
        (packed(header_of(TWO), bytes(33)), "its tensors end at byte"),
    ],
)
def test_a_header_that_cannot_be_true_is_a_fault_of_the_file(tmp_path: Path, data: bytes, said: str) -> None:
    file = tmp_path / "broken.safetensors"
    file.write_bytes(data)

    with pytest.raises(UserError, match=said) as caught:
        read_header(file)

    assert str(file) in str(caught.value)
    assert "fetch it again" in str(caught.value)


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.safetensors", TWO).read_bytes()
    file = tmp_path / "cut.safetensors"

    for end in range(len(whole)):
        file.write_bytes(whole[:end])
        with pytest.raises(UserError, match="fetch it again"):
            read_header(file)


def test_a_folder_in_place_of_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").mkdir()

    with pytest.raises(UserError, match="this is none"):
        read_header(tmp_path / "model.safetensors")


def test_a_file_that_may_not_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "model.safetensors", TWO)

    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)  # root, as which containers run tests, may read a file of mode 0

    with pytest.raises(UserError, match=r"Permission denied.*check its permissions"):
        read_header(file)


shapes = st.lists(st.integers(0, 5), max_size=4)
layouts = st.lists(st.tuples(st.sampled_from(sorted(SIZES)), shapes), max_size=6)


@SAME_FOLDER
@given(layout=layouts, order=st.randoms(use_true_random=False), padding=st.integers(0, 9))
def test_every_layout_is_read_as_it_was_written(
    tmp_path: Path, layout: list[tuple[str, list[int]]], order: random.Random, padding: int
) -> None:
    sizes = [SIZES[dtype] for dtype, _ in layout]
    tensors = {}
    for number, (dtype, shape) in enumerate(layout):
        count = sizes[number]
        for extent in shape:
            count *= extent
        tensors[f"t{number}"] = (dtype, shape, bytes(count))
    header = list(header_of(tensors).items())
    order.shuffle(header)
    text = json.dumps(dict(header)).encode() + b" " * padding
    file = tmp_path / "m.safetensors"
    file.write_bytes(packed(text, b"".join(data for _, _, data in tensors.values())))

    found = read_header(file)

    assert {n: (t.spec.dtype, list(t.spec.shape), t.nbytes) for n, t in found.items()} == {
        n: (dtype, shape, len(data)) for n, (dtype, shape, data) in tensors.items()
    }


@SAME_FOLDER
@given(data=st.data())
def test_a_byte_changed_in_a_header_is_refused_or_leaves_what_the_formats_own_reader_accepts(
    tmp_path: Path, data: st.DataObject
) -> None:
    file = write(tmp_path / "m.safetensors", TWO)
    raw = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(raw) - 33))
    raw[place] = data.draw(st.integers(0, 255))
    file.write_bytes(raw)

    try:
        ours = {n: t.spec.shape for n, t in read_header(file).items()}
    except UserError:
        return
    try:
        with safe_open(file, framework="np") as handle:
            theirs = {n: tuple(handle.get_slice(n).get_shape()) for n in handle.keys()}  # noqa: SIM118
    except SafetensorError as error:  # it reads fewer kinds of names and numbers than Python's JSON
        pytest.fail(f"ours took what safetensors refuses: {error}")
    assert ours == theirs


def test_the_dtypes_are_those_of_the_format() -> None:
    assert {name: bits // 8 for name, bits in BITS.items() if name in SIZES} == SIZES
