"""The command `plan`: what the study would cost that these overrides describe."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from omegaconf import DictConfig

from bai_sweep.config import NoRL, TrialConfig
from bai_sweep.records import StepTelemetry, TrialResult
from bai_sweep.search._plan import Plan

_MOST = 60  # earlier trials that are replayed


def show_plan(plan: Plan, config: DictConfig) -> None:
    """Measures a few steps of one point, where that is asked for, and prints the plan.

    Raises:
        UserError: an input of that point is bad.
    """
    from rich.console import Console

    from bai_sweep import planning
    from bai_sweep.trial import check_inputs

    settings, first = plan.settings, plan.configs[0]
    results, cache = Path(str(config.results_dir)), Path(first.evaluation.cache_dir).expanduser()
    new = [folder for folder in (cache, results) if not folder.exists()]
    check_inputs(first)
    measured = None
    if settings.calibrate:
        print(f"measuring {max(settings.calibrate, 2)} steps of one point ...", file=sys.stderr)
        try:
            measured = planning.calibrate(first, results, steps=max(settings.calibrate, 2))
        except planning.CalibrationError as error:
            print(f"no measurement ({error}); from the models' sizes instead", file=sys.stderr)
    report = settings.report
    study = planning.describe(
        plan.configs,
        points=plan.points,
        seeds=plan.seeds,
        workers=first.workers,
        ending=planning.Ending(
            pruner=settings.pruner,
            metric=report.metric if report.by_step else None,
            direction=report.direction,
            window=report.window,
            collapse=settings.collapse.detectors,
            patience=settings.collapse.patience,
        ),
        measured=measured,
        telemetry=list(_earlier(first, results)),
    )
    Console().print(planning.render(study))
    for folder in new:  # what looking has made and left empty
        with suppress(OSError):
            folder.rmdir()


def _earlier(config: TrialConfig, results: Path) -> Iterator[tuple[StepTelemetry, ...]]:
    """Telemetry of finished trials of studies with the same base model and number of steps."""
    count = 0
    for record in sorted(results.glob("*/study.json"), key=lambda path: path.stat().st_mtime, reverse=True):
        for folder in sorted(record.parent.glob("trials/*")) if _is_alike(record, config) else ():
            if count == _MOST or not (folder / "result.json").is_file():
                continue
            try:
                result = TrialResult.load(folder)
            except (ValueError, KeyError, TypeError):
                continue  # of another version
            if result.telemetry and result.pruned is None:
                count += 1
                yield result.telemetry


def _is_alike(record: Path, config: TrialConfig) -> bool:
    if isinstance(config.rl, NoRL):
        return False
    try:
        known = json.loads(record.read_text(encoding="utf-8"))["config"]
        alike: bool = known["model"]["base"] == config.model.base and known["rl"]["steps"] == config.rl.steps
    except (ValueError, KeyError, TypeError):
        return False
    return alike
