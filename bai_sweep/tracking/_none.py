"""`tracking=none`: the local journal and nothing else."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

from bai_sweep.config import TrialConfig
from bai_sweep.tracking._masking import mask_text
from bai_sweep.tracking._protocol import Status, TrialRun
from bai_sweep.tracking._run import JournaledRun, recorded, tags_of
from bai_sweep.tracking._setup import log_setup


@final
class NoTracker:
    """A tracker without a store; every run id is None."""

    def check(self) -> None:
        """Nothing to do."""

    def start_study(
        self,
        name: str,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        description: str = "",
    ) -> None:
        """Nothing to do."""

    def reopen(self, run_id: str | None) -> None:
        """Nothing to do."""

    def finish(self, run_id: str | None, status: Status = "FINISHED") -> bool:
        """Nothing to do."""
        return True

    @contextmanager
    def trial(
        self,
        number: int,
        name: str,
        parent_run_id: str | None,
        *,
        config: TrialConfig | Mapping[str, Any],
        folder: Path,
        tags: Mapping[str, Any] | None = None,
    ) -> Iterator[TrialRun]:
        """A run that is only a journal."""
        run = JournaledRun(folder, uuid.uuid4().hex, None)
        run.event("start", name=mask_text(name), number=number, tags=tags_of(tags or {}))
        with recorded(run):
            log_setup(run, config)
            yield run

    @contextmanager
    def attach(self, run_id: str | None, folder: Path) -> Iterator[TrialRun]:
        """A journal for the study itself."""
        run = JournaledRun(folder, "study", None)
        try:
            yield run
        finally:
            run.close()
