"""What is needed to repeat a run is found, or its absence is said."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from bai_sweep.tracking import _environment, environment
from bai_sweep.tracking._environment import git_diff, git_state


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    checkout = tmp_path / "checkout"
    (checkout / "pkg").mkdir(parents=True)
    (checkout / "pkg" / "a.py").write_text("x = 1\n")
    git(checkout, "init", "-q", "-b", "main")
    git(checkout, "add", ".")
    git(checkout, "commit", "-q", "-m", "one")
    return checkout / "pkg"


def test_clean_checkout(package: Path) -> None:
    state = git_state(package)
    assert state["git.commit"] == git(package, "rev-parse", "HEAD")
    assert (state["git.branch"], state["git.dirty"], state["git.untracked"]) == ("main", "false", "")
    assert git_diff(package) == ""


def test_changed_checkout(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (package / "a.py").write_text("password = 'hush'\n" + "y = 2\n" * 500)
    (package / "new.py").write_text("")
    state = git_state(package)
    assert (state["git.dirty"], state["git.untracked"]) == ("true", "pkg/new.py")
    assert "+y = 2" in git_diff(package)
    assert "hush" not in git_diff(package)
    monkeypatch.setattr(_environment, "MAX_DIFF", 100)
    assert len(git_diff(package)) < 200
    assert git_diff(package).endswith("left out\n")


def test_a_wheel_in_somebody_elses_repository_is_not_that_repository(package: Path) -> None:
    wheel = package.parent / ".venv" / "lib" / "bai_sweep"
    wheel.mkdir(parents=True)
    assert git_state(wheel) == {"git.commit": "none: not run from a git checkout"}
    assert git_diff(wheel) == ""


def test_without_git(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert environment(package)["git.commit"] == "none: not run from a git checkout"


def test_machine_and_packages() -> None:
    import torch

    found = environment()
    assert found["python"] == platform.python_version()
    assert found["package.torch"] == version("torch")
    assert found["package.mlflow"] == version("mlflow")
    assert found["torch.threads"] == str(torch.get_num_threads())
    assert all(isinstance(value, str) for value in found.values())


def test_torch_is_not_loaded_for_it() -> None:
    code = (
        "import sys; from bai_sweep.tracking import environment; print(environment()['torch'], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "not loaded False"


def test_nothing_heavy_at_import() -> None:
    code = (
        "import sys, bai_sweep.tracking, bai_sweep.progress; print({'mlflow', 'torch', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
