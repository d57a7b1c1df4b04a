"""What Hydra's sweeper calls: a study, and how the process ends after it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bai_sweep.records import UserError
from bai_sweep.search._plan import plan_study

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig

    from bai_sweep.search._queue import Survey


def run_study(
    arguments: Sequence[str],
    *,
    settings: Mapping[str, Any],
    config: DictConfig,
    hydra_context: HydraContext,
    task: TaskFunction,
) -> None:
    """Runs a study: its search space is `arguments` (overrides) over `settings["params"]`.

    Args:
        arguments: the command line's overrides.
        settings: the sweeper's, conf/hydra/sweeper/bai.yaml.
        config: the composed multirun configuration.
        hydra_context: Hydra's loader and callbacks.
        task: runs one trial's configuration and returns its objective.

    Raises:
        SystemExit: 2 for bad input (nothing was written), 1 if a trial has failed or is unfinished, 130 if the
            user stopped the study.
    """
    try:
        plan = plan_study(arguments, settings, config, hydra_context.config_loader)

        if plan.settings.mode == "plan":
            from bai_sweep.search._planned import show_plan

            show_plan(plan, config)
            return

        from bai_sweep.search._study import Study  # Optuna, half a second

        study = Study(plan, config, hydra_context, task)
        survey = study.join() if plan.settings.mode == "join" else study.run()
    except UserError as error:
        # Hydra would show a traceback and end with 1.
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nstopped; the same command with resume=true goes on", file=sys.stderr)
        sys.exit(130)
    if plan.settings.mode == "join":
        return  # how the study ends is said where it runs
    if complaint := _complaint(survey, study.stop_reason):
        print(complaint, file=sys.stderr)
        # Hydra calls this after a sweep that returns; this one exits.
        hydra_context.callbacks.on_multirun_end(config=config, config_name=config.hydra.job.config_name)
        sys.exit(1)


def _complaint(survey: Survey, stopped: str) -> str:
    if survey.owed:
        why = f"the study was stopped: {stopped}" if stopped else "no worker is left"
        failed = f"; {len(survey.failures)} failed" if survey.failures else ""
        return f"unfinished: trials {ranges(survey.owed)}{failed}; {why}; the same command with resume=true goes on"
    if survey.failures:
        lines = [f"  {number}: {reason}" for number, reason in sorted(survey.failures.items())]
        total = len(survey.finished) + len(survey.failures)
        return "\n".join([f"{len(survey.failures)} of {total} trials failed (failure.txt in each folder):", *lines])
    return ""


def ranges(numbers: Iterable[int]) -> str:
    """`0, 3-7, 9`."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][-1] + 1:
            spans[-1] = [spans[-1][0], number]
        else:
            spans.append([number])
    return ", ".join("-".join(map(str, span)) for span in spans)
