"""Storages that fail for a while, disks that are full, locks that are lost, clocks that step."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy.exc
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection

from bai_sweep.records import UserError
from bai_sweep.search import _patience
from bai_sweep.search._journal import Journal
from bai_sweep.search._patience import patient
from bai_sweep.search._storage import StorageAddress, open_database, shown


class Flaky(InMemoryStorage):
    """Fails so many times before each operation that is asked for the first time."""

    def __init__(self, error: Exception, times: int) -> None:
        super().__init__()
        self.error, self.left = error, times

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        if self.left:
            self.left -= 1
            raise self.error
        super().set_study_user_attr(study_id, key, value)


LOCKED = sqlalchemy.exc.OperationalError("update", {}, Exception("database is locked"))


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits, in which no time passes for the test."""
    made: list[float] = []
    now = [0.0]

    def sleep(seconds: float) -> None:
        made.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(_patience.time, "sleep", sleep)
    monkeypatch.setattr(_patience.time, "monotonic", lambda: now[0])
    return made


@pytest.mark.parametrize("error", [LOCKED, OSError("stale file handle"), optuna.exceptions.StorageInternalError("x")])
def test_a_fault_that_passes_costs_time_only(error: Exception, pauses: list[float]) -> None:
    storage = patient(Flaky(error, 4), 600)
    study = storage.create_new_study([StudyDirection.MAXIMIZE], "s")
    storage.set_study_user_attr(study, "a", 1)
    assert storage.get_study_user_attrs(study) == {"a": 1}
    assert pauses == [0.1, 0.2, 0.4, 0.8]


def test_patience_ends(pauses: list[float]) -> None:
    storage = patient(Flaky(LOCKED, 10_000), 20)
    study = storage.create_new_study([StudyDirection.MAXIMIZE], "s")
    with pytest.raises(sqlalchemy.exc.OperationalError, match="database is locked"):
        storage.set_study_user_attr(study, "a", 1)
    assert 14 < sum(pauses) <= 20
    assert max(pauses) == 5.0


def test_a_fault_of_the_program_is_not_waited_for(pauses: list[float]) -> None:
    storage = patient(Flaky(KeyError("no such study"), 1), 600)
    study = storage.create_new_study([StudyDirection.MAXIMIZE], "s")
    with pytest.raises(KeyError, match="no such study"):
        storage.set_study_user_attr(study, "a", 1)
    assert pauses == []


def test_every_operation_of_a_storage_is_patient() -> None:
    own = {name for name, value in vars(BaseStorage).items() if callable(value) and not name.startswith("_")}
    assert own == {name for name in vars(type(patient(InMemoryStorage(), 1))) if not name.startswith("_")} & own
    assert {"get_all_trials", "create_new_trial", "get_n_trials", "check_trial_is_updatable"} <= own


FULL = """
import resource, signal, sys
from pathlib import Path
from bai_sweep.search._journal import Journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path(sys.argv[1])
journal = Journal(path)
journal.append_logs([{"n": 1}])
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 30, resource.RLIM_INFINITY))
try:
    journal.append_logs([{"n": 2, "long": "x" * 100}])
except OSError as error:
    print("refused", error.errno)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.append_logs([{"n": 3}])
"""


def test_a_full_disk_leaves_no_half_line(tmp_path: Path) -> None:
    path = tmp_path / "study.log"
    ran = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("refused")
    assert [json.loads(line)["n"] for line in path.read_text().splitlines()] == [1, 3]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_a_line_that_a_killed_writer_left_is_cut_before_the_next(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "study.log")
    journal.append_logs([{"n": 1}])
    with (tmp_path / "study.log").open("ab") as file:
        file.write(b'{"n": 2, "kil')
    journal.append_logs([{"n": 3}])
    assert [log["n"] for log in Journal(tmp_path / "study.log").read_logs(0)] == [1, 3]


def test_a_lock_that_was_taken_away_does_not_fail_what_was_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "study.log")
    release = journal._lock.release

    def taken() -> None:
        release()
        release()  # "did not possess lock", as after a halt of 30 s

    journal._lock.release = taken  # type: ignore[method-assign]
    journal.append_logs([{"n": 1}])
    assert [log["n"] for log in journal.read_logs(0)] == [1]


def test_a_storage_that_is_locked_for_a_while_is_waited_for(tmp_path: Path) -> None:
    """Real time: another process holds the journal's lock for a second."""
    storage = StorageAddress(tmp_path, None, 30).open()
    study = optuna.create_study(study_name="s", storage=storage)
    lock = tmp_path / "study.log.lock"
    lock.symlink_to(tmp_path / "study.log")
    import threading

    threading.Timer(1.0, lock.unlink).start()
    begun = time.monotonic()
    study.set_user_attr("a", 1)
    assert time.monotonic() - begun > 0.9
    assert study.user_attrs == {"a": 1}


def test_passwords_are_not_shown() -> None:
    url = "postgresql+psycopg://me:secret@127.0.0.1:1/studies"
    assert "secret" not in shown(url)
    pytest.importorskip("psycopg")
    with pytest.raises(UserError, match=r"cannot be reached: connection") as caught:
        open_database(url)
    assert "secret" not in str(caught.value)


def test_a_driver_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r'pip install "bai-sweep\[mysql\]"'):
        open_database("mysql://me@127.0.0.1/x")
    with pytest.raises(UserError, match="cannot be reached: Could not parse"):
        open_database("no url")
