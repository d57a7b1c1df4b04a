"""What is needed to repeat a run: code, packages, machine, command line."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

from bai_sweep.tracking._masking import mask_text

PACKAGES = (
    "accelerate", "bai-sweep", "datasets", "hydra-core", "lm_eval", "mlflow", "numpy", "omegaconf", "optuna",
    "pydantic", "safetensors", "torch", "transformers", "trl", "vllm",
)  # fmt: skip
MAX_DIFF = 1_000_000  # characters of the git diff that are kept
_PACKAGE = Path(__file__).resolve().parents[1]


def environment(package: Path = _PACKAGE, *, load_torch: bool = False) -> dict[str, str]:
    """The environment as plain texts; what cannot be found out is said, not raised.

    Args:
        package: the folder of the package whose checkout is described.
        load_torch: import torch to ask for GPUs and threads; otherwise only if something has imported it already.
    """
    if load_torch and importlib.util.find_spec("torch"):
        importlib.import_module("torch")
    found = {
        **git_state(package),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cpu.count": str(os.cpu_count()),
        "command": mask_text(shlex.join([Path(sys.executable).name, *sys.orig_argv[1:]])),
        "cwd": str(Path.cwd()),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set"),
        **_torch_state(),
    }
    return found | {f"package.{name}": version for name in PACKAGES if (version := _version(name))}


def git_state(package: Path = _PACKAGE) -> dict[str, str]:
    """Commit, branch, dirtiness and untracked files of the checkout the package runs from."""
    top = _git(package, "rev-parse", "--show-toplevel")
    # A wheel inside a virtual environment may lie in somebody else's repository, whose commit says nothing of us.
    if top is None or Path(top) / package.name != package:
        return {"git.commit": "none: not run from a git checkout"}
    status = _git(package, "status", "--porcelain") or ""
    untracked = [line[3:] for line in status.splitlines() if line.startswith("??")]
    return {
        "git.commit": _git(package, "rev-parse", "HEAD") or "none: the repository has no commit",
        "git.branch": _git(package, "rev-parse", "--abbrev-ref", "HEAD") or "none",
        "git.dirty": str(bool(status)).lower(),
        "git.untracked": ", ".join(untracked[:50]),
    }


def git_diff(package: Path = _PACKAGE) -> str:
    """The changes since the commit, masked and limited to `MAX_DIFF` characters; empty without any."""
    if "git.dirty" not in git_state(package):
        return ""
    diff = mask_text(_git(package, "diff", "HEAD") or "")
    return diff if len(diff) <= MAX_DIFF else f"{diff[:MAX_DIFF]}\n... {len(diff) - MAX_DIFF} characters left out\n"


def _git(folder: Path, *arguments: str) -> str | None:
    """Git's answer; None without git, without a repository or on an error."""
    quiet = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, timeout=20, check=True, env=quiet
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace").rstrip("\n")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")


def _torch_state() -> dict[str, str]:
    """Threads and GPUs, if torch is loaded; it is not loaded for this alone."""
    torch = sys.modules.get("torch")
    if torch is None:
        return {"torch": "not loaded"}
    gpus = (
        [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    return {
        "gpu": ", ".join(gpus) or "none",
        "cuda": str(torch.version.cuda or "none"),
        "torch.threads": str(torch.get_num_threads()),
        "torch.interop_threads": str(torch.get_num_interop_threads()),
    }
