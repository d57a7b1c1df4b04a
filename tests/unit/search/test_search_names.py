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


def test_newest_is_the_last_without_a_gap(tmp_path: Path) -> None:
    for name in ("a", "a-2", "a-4", "a-2024", "a-b", "ab", "b-3"):
        _journal(tmp_path / name)
    (tmp_path / "a-3").mkdir()  # of a study that was killed before it had a journal
    assert newest_study("a", tmp_path.joinpath, None) == "a-4"
    assert newest_study("a-2", tmp_path.joinpath, None) == "a-2"
    assert newest_study("a", (tmp_path / "z").joinpath, {"a", "a-2", "a-4", "b-3"}) == "a-2"


def test_without_a_study_of_the_name_the_others_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no study b to resume in .*there is none at all"):
        newest_study("b", tmp_path.joinpath, None)
    for name in ("b-2", "a"):
        _journal(tmp_path / name)
    with pytest.raises(UserError, match=r"no study b to resume in .*there are a, b-2; give its name"):
        newest_study("b", tmp_path.joinpath, None)
    with pytest.raises(UserError, match="in the database; there are c"):
        newest_study("b", tmp_path.joinpath, {"c"})
