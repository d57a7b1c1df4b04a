"""The entry point: `python -m bai_sweep alpha=0.5` is a trial, `-m alpha=0.1,0.5` a study, `status` a command on one.

Nothing heavy is imported here, so that help, `--cfg job` and a configuration's faults answer at once.
"""

from __future__ import annotations

import sys

import hydra
from omegaconf import DictConfig

from bai_sweep.records import UserError
from bai_sweep.search import TrialOutcome, current_trial
from bai_sweep.sources import packaged_dir

_COMMANDS = ("status", "stop", "add", "worker", "plan", "report", "compare", "promote", "rollback")


@hydra.main(version_base="1.3", config_path=str(packaged_dir("conf")), config_name="config")
def _run(cfg: DictConfig) -> TrialOutcome | None:
    """Runs a trial: alone, or as one of a study; then it returns what the study wants to know."""
    trial = current_trial()
    if trial is None:
        _run_single(cfg)
        return None
    from bai_sweep.config import parse
    from bai_sweep.trial import run_trial

    result = run_trial(
        parse(cfg),
        number=trial.number,
        params=trial.params,
        folder=trial.folder,
        parent_run_id=trial.parent_run_id,
        monitor=trial.monitor,
        screen=trial.screen,
    )
    return TrialOutcome(result.metrics(), result.pruned, result.run_id)


def _run_single(cfg: DictConfig) -> None:
    from bai_sweep.single import run_single

    try:
        run_single(cfg)
    except UserError as error:
        # Here and not in main: Hydra shows a traceback for whatever leaves its task.
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)


def main() -> None:
    """Runs a command on a study, or Hydra's command line."""
    if sys.argv[1:2] and sys.argv[1] in _COMMANDS:
        from bai_sweep.command import run_command

        run_command(sys.argv[1], sys.argv[2:], hydra_main=_run)
    else:
        _run()


if __name__ == "__main__":
    main()
