"""What a tracker and a run of it can do; every implementation passes tests/contract/test_tracker.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, Protocol

from bai_sweep.config import TrialConfig

Status = Literal["FINISHED", "FAILED", "KILLED", "RUNNING"]


class TrialRun(Protocol):
    """One open run. Its methods only append to the local journal: they are fast and no outage reaches them.

    Names may hold letters, digits and `_ - . / : ` and space, as MLflow's may; any other character becomes `_`.
    """

    @property
    def run_id(self) -> str | None:
        """The tracker's id of the run; None without a tracker, or as long as the tracker is out of reach."""

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Constants of the run; secrets are masked, long values clipped."""

    def log_metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Figures of one step, or of the whole run (None; MLflow shows step 0); NaN and infinities are kept."""

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Labels to search by; a later value replaces an earlier one."""

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """A file that exists already; `folder` is where the run keeps it."""

    def log_text(self, text: str, name: str) -> Path:
        """A text under the name `name` (it may hold folders); also kept in the trial's `artifacts/`."""

    def log_figure(self, figure: Any, name: str) -> Path:
        """A plotly figure (name ends in .html or .json) or a matplotlib one (.png, .svg, .pdf)."""

    def log_table(self, rows: Sequence[Mapping[str, Any]], name: str) -> Path:
        """Rows with the same keys as a table MLflow's interface draws (name ends in .json)."""

    def log_view(self, view: Mapping[str, Any]) -> None:
        """Columns and charts with which the interface opens this run's study (`study_view`)."""


class Tracker(Protocol):
    """Reports a study as one parent run and one child run per trial.

    Call order: `start_study` (or `reopen` when going on), then any number of `trial`s, also at the same time and
    from other processes with trackers of their own; `attach` for what belongs to the study; `finish`.
    """

    def check(self) -> None:
        """Connects to the store, which is made if it is a database that is not there yet.

        Raises:
            UserError: the store is out of reach or refuses.
        """

    def start_study(
        self,
        name: str,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        description: str = "",
    ) -> str | None:
        """Makes the parent run and returns its id (None: nothing is tracked).

        Raises:
            UserError: the store is out of reach or refuses; no trial has run yet, so nothing is lost.
        """

    def reopen(self, run_id: str | None) -> str | None:
        """Marks an earlier study's run as running again and returns its id.

        Raises:
            UserError: the store is out of reach or has no such run.
        """

    def finish(self, run_id: str | None, status: Status = "FINISHED") -> bool:
        """Ends the study's run; never raises: without success it logs a warning and returns False."""

    def trial(
        self,
        number: int,
        name: str,
        parent_run_id: str | None,
        *,
        config: TrialConfig | Mapping[str, Any],
        folder: Path,
        tags: Mapping[str, Any] | None = None,
    ) -> AbstractContextManager[TrialRun]:
        """A child run with the resolved configuration as parameters and as config.yaml, and what is needed to repeat
        it as environment.json. `config` is a trial's, or plain values with `seed` among them.

        The run ends FINISHED; on an exception FAILED, or KILLED when the user or the scheduler ended it.
        Unfinished attempts at the same trial of the same study are soft-deleted, and a finished one is when a
        later attempt finishes too: a study has one child per trial number.
        """

    def attach(self, run_id: str | None, folder: Path) -> AbstractContextManager[TrialRun]:
        """The study's own run, to log its report and figures; the journal stands in `folder`, the status stays."""
