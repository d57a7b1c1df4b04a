"""One trial on its own, without a study: `python -m bai_sweep alpha=0.5`."""

from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path
from types import FrameType

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from bai_sweep.config import parse
from bai_sweep.records import UserError
from bai_sweep.search import limit_threads, threads_per_worker


def run_single(cfg: DictConfig) -> None:
    """Runs the trial of a composed configuration with a live display, writes its report, and prints its result.

    Raises:
        UserError: bad input; or what only a study has was asked for.
        KeyboardInterrupt: the user (or the scheduler, by SIGTERM) stopped it.
    """
    config = parse(cfg)
    if config.resume or config.workers > 1:
        raise UserError(
            "resume=true and workers belong to a study; add -m, as in `python -m bai_sweep -m alpha=0.1,0.5`"
        )
    folder = Path(HydraConfig.get().runtime.output_dir)
    limit_threads(threads_per_worker(config.threads, workers=1))

    from bai_sweep.progress import TrialDisplay
    from bai_sweep.report import StudyReport, print_study, write_html
    from bai_sweep.study import warn_of_unsent
    from bai_sweep.tracking import mask_text
    from bai_sweep.trial import run_trial

    signal.signal(signal.SIGTERM, _interrupt)
    with TrialDisplay(folder):
        result = run_trial(config, number=0, params={}, folder=folder)
    command = mask_text(shlex.join(["python", "-m", "bai_sweep", *sys.argv[1:]]))
    report = StudyReport(name=folder.name, folder=folder, command=command, results=(result,))
    print_study(report)
    write_html(report, folder / "report.html")
    warn_of_unsent(folder)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
