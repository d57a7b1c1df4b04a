"""The command line of promote and rollback, in the tests' process; tests/e2e runs it in its own."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from bai_sweep.command import run_command
from bai_sweep.command._promote import PROMOTE_USAGE, ROLLBACK_USAGE
from bai_sweep.config import TrackingConfig
from bai_sweep.promotion._registry import Registry
from tests.tracking_store import shared_config
from tests.unit.promotion.promotion_helpers import study


def run(*arguments: str) -> int | str | None:
    """The exit code, None where the command just returns."""
    try:
        run_command(arguments[0], arguments[1:], hydra_main=lambda: None)
    except SystemExit as ended:
        return ended.code
    return None


@pytest.fixture
def tracking(tmp_path: Path) -> TrackingConfig:
    return shared_config(tmp_path)


class Terminal(io.StringIO):
    """Somebody types this."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("command", "usage"), [("promote", PROMOTE_USAGE), ("rollback", ROLLBACK_USAGE)])
def test_help_is_help(command: str, usage: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, "--help") is None

    assert capsys.readouterr().out == usage


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("promote", "trail=1"), "arguments are key=value with a key of study"),
        (("promote", "trial=one"), "trial=<number>"),
        (("promote", "to=staging"), "to is candidate or production; got to=staging"),
        (("promote", "--to"), "to is candidate or production; got to=nothing"),
        (("promote", "dtype=int8"), "dtype is float32 or bfloat16 or float16"),
        (("promote", "force=yes"), "force is false or true"),
        (("promote", "trial=1", "trial=2"), "each key is given once"),
        (("promote", "name=a/b"), "a registered model's name has letters"),
        (("promote", "to=production"), "without a terminal to ask on give yes=true"),
        (("promote", "--to", "production"), "without a terminal to ask on give yes=true"),
        (("rollback",), "without a terminal to ask on give yes=true"),
        (("rollback", "trial=1"), "arguments are key=value"),
        (("promote", "study=nope"), "nope holds no study"),
        (("promote",), "results holds no study"),
    ],
)
def test_bad_input_is_told(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO())

    assert run(*arguments) == 2

    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_person_at_a_terminal_agrees_or_not(
    tmp_path: Path, tracking: TrackingConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study(tmp_path, {0: ("alpha=0.3",), 1: ("alpha=0.7",)}, "model.name=person", tracking=tracking)
    monkeypatch.chdir(tmp_path)
    typed = {"n\n": 2, "y\n": None, "": 130}

    for text, code in typed.items():
        monkeypatch.setattr("sys.stdin", Terminal(text))
        number = "1" if text == "" else "0"
        assert run("promote", "study=s", f"trial={number}", "--to", "production") == code

    said = capsys.readouterr()
    assert "version  1 of bai-person, production" in said.out
    assert "not agreed to: production of bai-person is as it was" in said.err
    assert "stopped; the same command goes on" in said.err
    version = Registry(tracking, "bai-person").at("production")
    assert version is not None
    assert version.tags["trial"] == "0"


def test_rollback_finds_the_models_registry_by_the_study_or_by_name(
    tmp_path: Path, tracking: TrackingConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study(tmp_path, {0: ("alpha=0.3",), 1: ("alpha=0.7",), 2: ("alpha=0.5",)}, "model.name=back", tracking=tracking)
    monkeypatch.chdir(tmp_path)
    for number in "012":
        assert run("promote", "study=s", f"trial={number}", "to=production", "yes=true") is None

    assert run("rollback", "study=s", "yes=true") is None
    assert "production of bai-back: version 2: 0.7*base" in capsys.readouterr().out
    assert run("rollback", "name=bai-back", f"tracking.uri={tracking.uri}", "yes=true") is None
    assert "production of bai-back: version 1: 0.3*base" in capsys.readouterr().out
    assert run("rollback", "study=s", "yes=true") == 2
    assert "nothing to go back to" in capsys.readouterr().err


def test_a_study_without_tracking_registers_where_one_says(
    tmp_path: Path, tracking: TrackingConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study(tmp_path, {0: ("alpha=0.3",)}, "model.name=late")
    monkeypatch.chdir(tmp_path)

    assert run("promote", "study=s") is None
    assert "version  none: nothing is tracked" in capsys.readouterr().out
    assert run("promote", "study=s", f"tracking.uri={tracking.uri}") is None

    assert "version  1 of bai-late, candidate" in capsys.readouterr().out


def test_a_registry_that_is_away_is_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study(tmp_path, {0: ("alpha=0.3",)})
    monkeypatch.chdir(tmp_path)

    assert run("promote", "study=s", "tracking.uri=http://127.0.0.1:1") == 1

    said = capsys.readouterr()
    assert "the same command registers it without merging again" in said.err
    assert (tmp_path / "results/s/promoted/s-trial-0/merge.json").is_file()
