"""What a study keeps in its storage for workers that join it from elsewhere: `python -m bai_sweep worker`."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

import optuna
from omegaconf import DictConfig

OVERRIDES = "overrides"
PARENT_RUN = "parent_run_id"
FOLDER = "folder"
NEEDED = "needed"  # keys that each worker is told by its user, as their values hold a password

# The worker's own, or the command's.
_NOT_HANDED_ON = (
    *("study", "resume", "force", "workers", "threads", "device", "results_dir"),
    *("hydra.sweeper.storage", "hydra.sweeper.mode", "hydra/launcher", "hydra.launcher", "hydra.mode"),
)


def invite(study: optuna.Study, config: DictConfig, parent_run_id: str | None, more: Sequence[str]) -> None:
    """Keeps the command's overrides (none that hold a password), the tracker's run and the folder."""
    given = [*config.hydra.overrides.hydra, *config.hydra.overrides.task]
    overrides = [text for text in given if not _is_own(text)] + list(more)
    kept = {
        OVERRIDES: [text for text in overrides if not holds_password(text)],
        NEEDED: sorted({text.lstrip("+").partition("=")[0] for text in overrides if holds_password(text)}),
        PARENT_RUN: parent_run_id,
        FOLDER: str(config.hydra.sweep.dir),
    }
    for key, value in kept.items():
        if study.user_attrs.get(key) != value:
            study.set_user_attr(key, value)


def holds_password(override: str) -> bool:
    """Whether the value is an address with a password in it."""
    value = override.partition("=")[2].strip("'\"")
    try:
        return urlsplit(value).password is not None
    except ValueError:
        return False


def _is_own(override: str) -> bool:
    key = override.lstrip("+~").partition("=")[0]
    return any(key == name or key.startswith(f"{name}.") for name in _NOT_HANDED_ON)
