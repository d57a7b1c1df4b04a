"""Which level is opened, and refusal where there is none."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from bai_sweep.records import UserError
from bai_sweep.sandbox import Sandbox, SetupError, _levels, _open, _tree, open_sandbox


@pytest.fixture(autouse=True)
def forget_what_was_tried() -> Iterator[None]:
    _open._failure.cache_clear()
    yield
    _open._failure.cache_clear()


def broken(*_: object) -> list[str]:
    return ["sh", "-c", "echo this kernel allows no namespaces >&2; exit 1"]


def test_open_strongest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    monkeypatch.setattr(_open, "_failure", lambda level: tried.append(level) or None)
    assert open_sandbox().level == "bubblewrap"
    assert tried[0] == "bubblewrap"


def test_open_falls_back_to_namespaces_without_bubblewrap(monkeypatch: pytest.MonkeyPatch) -> None:
    if (failure := _open._failure("namespaces")) is not None:
        pytest.skip(failure)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert open_sandbox().level == "namespaces"
    with pytest.raises(UserError, match="bubblewrap: no bwrap on PATH"):
        open_sandbox("bubblewrap")


def test_open_refuses_where_nothing_isolates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setitem(_levels.LEVELS, "namespaces", broken)
    with pytest.raises(UserError, match=r"no bwrap on PATH.*this kernel allows no namespaces") as refusal:
        open_sandbox()
    assert "apt-get install bubblewrap" in str(refusal.value)
    assert "evaluation.isolation=process" in str(refusal.value)


def test_open_never_takes_the_weak_level_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_open, "_failure", lambda level: None if level == "process" else "broken")
    with pytest.raises(UserError, match="no way to"):
        open_sandbox("auto")
    assert open_sandbox("process").level == "process"


def test_open_trial_run_tells_isolation_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/bwrap")
    monkeypatch.setitem(_levels.LEVELS, "bubblewrap", _levels.process)
    with pytest.raises(UserError, match=r"a trial run (found .*files|ended as killed)"):
        open_sandbox("bubblewrap")


def test_open_refuses_machines_whose_calls_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_open, "supported", lambda: False)
    with pytest.raises(UserError, match="x86_64 and aarch64"):
        open_sandbox("namespaces")


def test_open_unknown_level() -> None:
    with pytest.raises(UserError, match="one of auto, bubblewrap, namespaces, process; got 'docker'"):
        open_sandbox("docker")


def test_open_run_that_cannot_be_set_up_is_no_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_levels.LEVELS, "process", broken)
    with pytest.raises(SetupError, match="allows no namespaces"):
        Sandbox("process").run("print(1)")


@pytest.mark.parametrize(
    ("level", "trial"),
    [
        ("bubblewrap", ["bwrap", "--unshare-pid", "--unshare-net", "--ro-bind", "/", "/", "--proc", "/proc", "true"]),
        ("namespaces", ["unshare", "--mount", "--pid", "--net", "--fork", "true"]),
        ("namespaces", ["unshare", "--user", "--mount", "--pid", "--net", "--fork", "true"]),
    ],
)
def test_open_every_level_that_the_host_has(level: str, trial: list[str]) -> None:
    """The other tests skip a level that does not open: it must open where its means work."""
    if shutil.which(trial[0]) is None or subprocess.run(trial, capture_output=True, check=False).returncode:
        pytest.skip(f"{' '.join(trial)} does not work on this host")
    assert open_sandbox(level).level == level


def test_open_refuses_where_memory_could_not_be_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tree, "supported", lambda: False)
    with pytest.raises(UserError, match="CONFIG_PROC_CHILDREN"):
        open_sandbox("process")
