"""The process of a calibration: `python -m bai_sweep.planning._measure <folder>`, with the job in it.

The order of the stages is that of a trial; here they are run one by one, as each is measured by itself.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING

from bai_sweep.config import TrialConfig, parse_mapping
from bai_sweep.devices import device_of
from bai_sweep.planning._calibration import Calibration
from bai_sweep.planning._job import ERROR, JOB, MEASURED
from bai_sweep.planning._measured_items import measurable, measure_items
from bai_sweep.planning._measured_steps import MeasuredSteps
from bai_sweep.planning._peak import PeakMemory
from bai_sweep.records import UserError
from bai_sweep.trial import check_inputs, quiet_libraries, seed_everything

if TYPE_CHECKING:
    from bai_sweep.merging import InitialActor


def main(place: Path) -> int:
    """Measures, and writes what came out, or what is wrong with the input. Returns the exit status."""
    logging.basicConfig(level=logging.WARNING)
    job = json.loads((place / JOB).read_text(encoding="utf-8"))
    try:
        measured = measure(parse_mapping(job["config"]), place, steps=job["steps"], items=job["items"])
    except UserError as error:
        (place / ERROR).write_text(str(error), encoding="utf-8")
        return 1
    measured.write(place / MEASURED)
    return 0


def measure(config: TrialConfig, place: Path, *, steps: int, items: Sequence[int]) -> Calibration:
    """Merges, trains, evaluates; everything is written below `place`.

    Raises:
        UserError: An input is bad.
    """
    settings, missing = measurable(config, place)
    check_inputs(config.model_copy(update={"evaluation": settings}))
    quiet_libraries()
    seed_everything(config.seed)
    device = device_of(config.device)
    memory = PeakMemory(device)
    initial, merge_seconds = _merge(config)
    ppo = MeasuredSteps(config, place / "trial", steps)
    ppo.train(initial)
    benchmarks = measure_items(initial, settings, config.judge, place, items)
    return Calibration(
        config=config,
        device=str(device),
        threads=int(os.environ.get("OMP_NUM_THREADS", "0")),
        steps=len(ppo.timed),
        merge_seconds=merge_seconds,
        step_seconds=median(ppo.timed) if ppo.timed else None,
        mean_length=fmean(ppo.lengths) if ppo.lengths else None,
        set_up_seconds=ppo.set_up_seconds,
        checkpoint_seconds=ppo.checkpoint_seconds,
        checkpoint_bytes=ppo.checkpoint_bytes,
        peak_bytes=max(memory.read(), ppo.peak_bytes),
        benchmarks=benchmarks,
        missing=missing,
    )


def _merge(config: TrialConfig) -> tuple[InitialActor, float]:
    from bai_sweep import merging
    from bai_sweep.merging import initialise

    start = time.perf_counter()  # imports are paid once by a worker, not by each trial
    initial = initialise(config.model, config.actor)
    initial.model.to(device_of(config.device))  # type: ignore[arg-type]  # transformers wraps `to`
    seconds = time.perf_counter() - start
    merging.release()
    return initial, seconds


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
