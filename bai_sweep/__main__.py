"""The entry point: `python -m bai_sweep alpha=0.5` is one trial, `-m alpha=0.1,0.5,0.9` a study.

Nothing heavy is imported here, so that help, `--cfg job` and a configuration's faults answer at once.
"""

from __future__ import annotations

import math
import sys

import hydra
from omegaconf import DictConfig

from bai_sweep.records import UserError
from bai_sweep.search import current_trial
from bai_sweep.sources import packaged_dir


@hydra.main(version_base="1.3", config_path=str(packaged_dir("conf")), config_name="config")
def _run(cfg: DictConfig) -> float | None:
    """Runs a trial: alone, or as one of a study; then it returns the objective, NaN if it has none."""
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
    )
    return result.metrics().get(trial.objective, math.nan)


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
    """Runs Hydra's command line."""
    _run()


if __name__ == "__main__":
    main()
