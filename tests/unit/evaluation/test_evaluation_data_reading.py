"""Files that are not what their names say are told by file and line; good ones read alike in every form."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow
import pytest
from evaluation_data_cases import mixeval, supergpqa, write_lines
from pyarrow import parquet

from bai_sweep.evaluation.data import load
from bai_sweep.evaluation.data._reading import read
from bai_sweep.records import UserError

ROWS = supergpqa(5)


def _file(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".parquet"])
def test_every_form_gives_the_same_rows(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"supergpqa/test{suffix}"
    if suffix == ".parquet":
        path.parent.mkdir()
        parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    else:
        write_lines(path, ROWS)
    assert load("supergpqa", tmp_path) == {"test": ROWS}


def test_json_lines_come_before_parquet(tmp_path: Path) -> None:
    write_lines(tmp_path / "supergpqa/test.jsonl", ROWS[:2])
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "supergpqa/test.parquet")
    assert load("supergpqa", str(tmp_path))["test"] == ROWS[:2]


def test_a_name_with_dots_keeps_its_suffix(tmp_path: Path) -> None:
    assert read(write_lines(tmp_path / "gemini-2.0-flash-001.jsonl.gz", ROWS)).rows == ROWS


def test_items_of_a_json_object_get_their_key(tmp_path: Path) -> None:
    table = read(_file(tmp_path, "free-form.json", json.dumps(mixeval("free-form", 2)).encode()))
    assert [row["id"] for row in table.rows] == ["0", "1"]
    assert table.places == ["item '0'", "item '1'"]


def test_blank_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    table = read(_file(tmp_path, "test.jsonl", b'{"a": 1}\n\n{"a": 2}\n'))
    assert (table.rows, table.places) == ([{"a": 1}, {"a": 2}], ["line 1", "line 3"])


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    assert read(_file(tmp_path, "test.jsonl", b'\xef\xbb\xbf{"a": 1}\n')).rows == [{"a": 1}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("test.jsonl", b"", r"test\.jsonl is empty"),
        ("test.jsonl", b"\n \n", r"test\.jsonl is empty"),
        (
            "test.jsonl",
            b'{"a": 1}\n{"a": 2}\n{"a": ',
            r"line 3: the last line is cut off, or it is not JSON .*column 7",
        ),
        ("test.jsonl", b'{"a": 1}\n{"a" 2}\n{"a": 3}\n', r"line 2: it is not JSON \(Expecting ':'.* at column 6\)"),
        ("test.jsonl", b'{"a": 1}\n[1, 2]\n', "line 2: a row is a JSON object; got list"),
        ("test.jsonl", b'{"a": "\xff"}\n', r"line 1 is not UTF-8 text \(byte 8\)"),
        ("test.jsonl", b"version https://git-lfs.github.com/spec/v1\n", "line 1: this is a Git LFS pointer"),
        ("test.jsonl.gz", b'{"a": 1}\n', r"test\.jsonl\.gz is no whole gzip file"),
        ("test.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 9, mtime=0)[:-6], r"no whole gzip file: cut off"),
        ("test.jsonl.gz", gzip.compress(b"", mtime=0), r"test\.jsonl\.gz is empty"),
        ("test.parquet", b"", r"test\.parquet is empty"),
        ("test.parquet", b"PAR1 and then nothing", r"test\.parquet is not a whole parquet file"),
        ("free-form.json", b" ", r"free-form\.json is empty"),
        ("free-form.json", b'{"0": {"a": 1},\n "1": {', r"line 2: it is cut off or not JSON"),
        ("free-form.json", b'[{"a": 1}]', r"a \.json file is one object of items by id"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(_file(tmp_path, name, content))


def test_a_cut_parquet_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "test.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"test\.parquet is not a whole parquet file"):
        read(path)


def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").mkdir()
    with pytest.raises(UserError, match=r"test\.jsonl cannot be read: Is a directory"):
        read(tmp_path / "test.jsonl")


def test_absent_data_is_named_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"has none of its files; get it with `python -m .*benchmarks=math500 data_dir="
    ):
        load("math500", tmp_path)


def test_unknown_benchmarks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"benchmarks with data are mmlu_pro, .*; got 'arenahard'"):
        load("arenahard", tmp_path)
