"""The background thread that carries a journal to MLflow and sits out its outages."""

from __future__ import annotations

import logging
import sys
import threading
import time
from pathlib import Path
from typing import final

from bai_sweep.tracking._delivery import Delivery
from bai_sweep.tracking._masking import mask_text

log = logging.getLogger(__name__)

GATHER = 1.0  # seconds in which events gather into one batch
FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0  # between retries, doubling


@final
class Sender:
    """Pumps a delivery whenever it is poked. Nothing it meets is raised; `close` says whether all was sent."""

    def __init__(self, delivery: Delivery, folder: Path, patience: float) -> None:
        self._delivery, self._folder, self._patience = delivery, folder, patience
        self._wake, self._closing, self._tried = threading.Event(), threading.Event(), threading.Event()
        self._deadline = float("inf")
        self._warned = False
        self._thread = threading.Thread(target=self._work, name=f"mlflow-{folder.name}", daemon=True)
        self._thread.start()

    def poke(self) -> None:
        """There is something new in the journal."""
        self._wake.set()

    def run_id(self) -> str | None:
        """The run's id; waits for the first attempt at making the run (a moment, unless MLflow is away)."""
        self._tried.wait(min(self._patience, 10.0))
        return self._delivery.done.run_id

    def close(self) -> bool:
        """Sends the rest, waiting `patience` seconds at most; what is left then stays for `sync`."""
        self._deadline = time.monotonic() + self._patience
        self._closing.set()
        self._wake.set()
        self._thread.join(self._patience + 1.0)
        left = self._delivery.pending()
        if left:
            log.warning(
                "%d events of %s did not reach MLflow; nothing is lost: `%s -m bai_sweep.tracking sync %s` sends them",
                left, self._folder, Path(sys.executable).name, self._folder,
            )  # fmt: skip
        return not left

    def _work(self) -> None:
        delay = 0.0
        while True:
            (self._closing if delay else self._wake).wait(delay or None)
            self._wake.clear()
            last = self._closing.is_set()
            delay = self._try(delay)
            self._tried.set()
            if last and (not delay or time.monotonic() > self._deadline):
                return
            if last:
                time.sleep(min(delay, max(0.0, self._deadline - time.monotonic())))
            elif not delay:
                self._closing.wait(GATHER)

    def _try(self, delay: float) -> float:
        """Returns the seconds to wait before the next try, 0 when all was sent."""
        try:
            self._delivery.pump()
        except Exception as error:  # noqa: BLE001 - whatever it is, training goes on and the journal has it all
            if not self._warned:
                log.warning(
                    "MLflow is out of reach, training goes on and the journal keeps all of it: %s",
                    mask_text(str(error)),
                )
                self._warned = True
            return min(max(2 * delay, FIRST_DELAY), LONGEST_DELAY)
        if self._warned:
            log.warning("MLflow is back; the journal of %s was sent", self._folder)
            self._warned = False
        return 0.0
