"""What opens and concludes a study's record: named in the configuration, so that search knows no tracker."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from bai_sweep.config import TrialConfig


class StudyHandle(Protocol):
    """An open study: the tracker's run of it and the progress display.

    `interrupted` is called where `conclude` is not, because trials are still owed; it never raises.
    """

    @property
    def parent_run_id(self) -> str | None: ...
    @property
    def worker_overrides(self) -> Sequence[str]:
        """What a worker on another machine needs on its command line besides the study's own, without secrets."""

    def display(self) -> AbstractContextManager[Any]: ...
    def interrupted(self) -> None: ...


class StudyFunctions(Protocol):
    """A module with three functions; all are called by the study's own process, in this order."""

    def check_study(self, config: TrialConfig) -> None:
        """Before anything is written: raises UserError where something outside the configuration is not there."""

    def open_study(
        self,
        config: TrialConfig,
        *,
        name: str,
        folder: Path,
        space: Mapping[str, str],
        total: int | None,
        resume: bool,
    ) -> StudyHandle:
        """Before the first trial."""

    def conclude(self, handle: StudyHandle, *, failures: Mapping[int, str]) -> None:
        """After the last trial."""


@dataclass(frozen=True)
class _Unrecorded:
    """`study_functions: null`: Optuna's storage and the trials' folders are all there is."""

    parent_run_id: str | None = None
    worker_overrides: tuple[str, ...] = ()

    def display(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def interrupted(self) -> None:
        return

    def check_study(self, config: TrialConfig) -> None:
        return

    def open_study(self, config: TrialConfig, **_: object) -> StudyHandle:
        return self

    def conclude(self, handle: StudyHandle, **_: object) -> None:
        return


def load_study_functions(module: str | None) -> StudyFunctions:
    """The functions of a module by its dotted name; without a name, ones that do nothing."""
    return _Unrecorded() if module is None else cast("StudyFunctions", importlib.import_module(module))
