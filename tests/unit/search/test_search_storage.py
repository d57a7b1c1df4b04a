"""A journal that a full disk or a kill has left in the middle of a line."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from bai_sweep.records import UserError
from bai_sweep.search._storage import StorageAddress


def _study(folder: Path) -> optuna.Study:
    storage = StorageAddress(folder, None).open()
    return optuna.create_study(study_name="s", storage=storage, load_if_exists=True)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    study = _study(tmp_path)
    study.set_user_attr("first", "x" * 100)
    study.set_user_attr("second", "y" * 100)
    return tmp_path / "study.log"


@pytest.mark.parametrize("tail", [b"", b"\n", b"\0" * 50], ids=["unfinished", "unparsable", "zeros"])
def test_last_line_that_is_not_whole_is_cut(journal: Path, tail: bytes) -> None:
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-20] + tail)
    study = _study(journal.parent)
    assert study.user_attrs == {"first": "x" * 100}
    study.set_user_attr("third", 3)
    assert _study(journal.parent).user_attrs == {"first": "x" * 100, "third": 3}
    assert not list(journal.parent.glob("*.lock*"))


def test_whole_line_without_its_end_is_cut_too(journal: Path) -> None:
    journal.write_bytes(journal.read_bytes()[:-1])
    _study(journal.parent).set_user_attr("third", 3)
    assert _study(journal.parent).user_attrs == {"first": "x" * 100, "third": 3}


def test_journal_torn_in_its_first_line_is_empty(journal: Path) -> None:
    journal.write_bytes(journal.read_bytes()[:10])
    assert _study(journal.parent).user_attrs == {}


def test_whole_journal_is_left_as_it_is(journal: Path) -> None:
    before = journal.read_bytes()
    StorageAddress(journal.parent, None).open()
    assert journal.read_bytes() == before


def test_damage_in_the_middle_is_told(journal: Path) -> None:
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[-2] = lines[-2][:30] + b"\n"
    journal.write_bytes(b"".join(lines))
    with pytest.raises(UserError, match=r"study\.log is damaged .*put a copy in its place"):
        StorageAddress(journal.parent, None).open()


def test_journal_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    (tmp_path / "study.log").mkdir()
    with pytest.raises(UserError, match=r"cannot open .*study\.log: Is a directory"):
        StorageAddress(tmp_path, None).open()


def test_lock_leads_to_the_journal_also_from_a_relative_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("deep").mkdir()
    storage = StorageAddress(Path("deep"), None).open()
    lock = storage.storage._backend._lock  # type: ignore[attr-defined]  # Optuna breaks a dead lock by the age of its target
    lock.acquire()
    try:
        assert Path("deep/study.log.lock").exists()
    finally:
        lock.release()
