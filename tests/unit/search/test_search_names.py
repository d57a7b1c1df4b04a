from __future__ import annotations

from pathlib import Path

import pytest

from bai_sweep.records import UserError
from bai_sweep.search._names import claim_name, newest_study


def _journal(folder: Path) -> None:
    folder.mkdir()
    (folder / "study.log").touch()


def test_free_name_is_taken_and_the_next_one_suffixed(tmp_path: Path) -> None:
    names = [claim_name("a", tmp_path.joinpath, ()) for _ in range(3)]
    assert names == ["a", "a-2", "a-3"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names


def test_name_taken_in_the_database_is_not_free(tmp_path: Path) -> None:
    assert claim_name("a", tmp_path.joinpath, {"a", "a-2"}) == "a-3"


def test_folder_that_does_not_depend_on_the_name_is_refused_once_it_exists(tmp_path: Path) -> None:
    folder = tmp_path / "fixed"
    assert claim_name("a", lambda _: folder, ()) == "a"
    with pytest.raises(UserError, match=r"put \$\{study\} into it"):
        claim_name("a", lambda _: folder, ())


def test_newest_is_the_highest_number_of_this_name(tmp_path: Path) -> None:
    for name in ("a", "a-2", "a-10", "a-b", "ab", "b-11"):
        _journal(tmp_path / name)
    (tmp_path / "a-11").mkdir()  # a folder without a study
    assert newest_study("a", tmp_path.joinpath, None) == "a-10"
    assert newest_study("a-2", tmp_path.joinpath, None) == "a-2"
    assert newest_study("z", tmp_path.joinpath, None) is None
    assert newest_study("a", tmp_path.joinpath, {"a", "a-3", "b-4"}) == "a-3"
