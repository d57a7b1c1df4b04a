"""One trial, whole: merge, train, diagnose, evaluate. Only this module knows the order."""

from __future__ import annotations

import logging
import random
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bai_sweep.config import GroupSettings, NoRL, PPOSettings, TrialConfig
from bai_sweep.devices import device_of
from bai_sweep.records import EvalReport, StepTelemetry, TrialResult, UserError

if TYPE_CHECKING:
    from bai_sweep.merging import InitialActor
    from bai_sweep.progress import ProgressFile
    from bai_sweep.tracking import TrialRun

log = logging.getLogger(__name__)


def run_trial(
    config: TrialConfig, *, number: int, params: Mapping[str, Any], folder: Path, parent_run_id: str | None = None
) -> TrialResult:
    """Runs one trial and keeps everything about it; a trial whose result stands in its folder is only loaded.

    A trial that was killed in PPO goes on from the newest of the `checkpoints` in its folder when it is run again;
    they are removed once the result stands.

    Args:
        config: checked.
        number: of the trial in its study; 0 for a single trial.
        params: the swept parameters under their config names, for tables.
        folder: the trial's own; telemetry goes to its journal.jsonl as it comes, the result to result.json.
        parent_run_id: the study's MLflow run.

    Raises:
        UserError: an input that only shows when it is used (a reward function, a dataset, a checkpoint).
    """
    from bai_sweep.progress import ProgressFile
    from bai_sweep.tracking import open_tracker, settle

    if (folder / "result.json").is_file():
        # Its worker died before it told the study: nothing finished is run again.
        if config.tracking.kind == "mlflow":
            settle(folder, config.tracking.uri)
        _forget_checkpoints(folder)
        return TrialResult.load(folder)
    check_inputs(config)
    name = trial_name(params, config)
    progress = ProgressFile(folder, number, name)
    tracker = open_tracker(config.tracking)
    try:
        with tracker.trial(number, name, parent_run_id, config=config, folder=folder) as run:
            result = _stages(config, number, params, folder=folder, run=run, progress=progress)
            _report(result, run)
            result.save(folder)
            _forget_checkpoints(folder)
            _draw(result, folder, run)
    except BaseException:
        progress.finish("failed")
        raise
    progress.finish("done")
    return result


def check_inputs(config: TrialConfig) -> None:
    """Whatever can be found wrong before a model is loaded and is not in the configuration alone.

    Raises:
        UserError: a benchmark cannot be run, its data or the judge is at fault, a reward or prompts are not there,
            the device is not, or checkpoints on this machine do not fit together.
    """
    from bai_sweep import evaluation, judging, merging, ppo

    judging.check_judge(config.judge)
    evaluation.check(config.evaluation, judging.name_of(config.judge))
    device = device_of(config.device)
    merging.check(config.model, config.actor)
    if not isinstance(config.rl, NoRL):
        ppo.check(config.rl, config.reward, device)


def _stages(
    config: TrialConfig,
    number: int,
    params: Mapping[str, Any],
    *,
    folder: Path,
    run: TrialRun,
    progress: ProgressFile,
) -> TrialResult:
    from bai_sweep import merging, stability

    quiet_libraries()
    seed_everything(config.seed)
    device = device_of(config.device)
    seconds: dict[str, float] = {}

    with _timed(seconds, "merge"):
        progress.stage("merge", None)
        initial = merging.initialise(config.model, config.actor)
        if config.save_merge:
            _save(initial, folder / "merge", trained=None)
        initial.model.to(device)  # type: ignore[arg-type]  # transformers wraps `to` in a decorator that loses its type

    telemetry: tuple[StepTelemetry, ...] = ()
    if not isinstance(config.rl, NoRL):
        with _timed(seconds, "ppo"):
            telemetry = _train(config, config.rl, initial, folder=folder, run=run, progress=progress)
        if config.save_actor:
            _save(initial, folder / "actor", trained=f"{config.rl.name}, {config.rl.steps} steps")

    with _timed(seconds, "evaluation"):
        progress.stage("evaluation", None)
        report = _evaluate(config, initial, folder=folder, run=run, progress=progress)
    return TrialResult(
        number=number,
        params=dict(params),
        seed=config.seed,
        recipe=initial.recipe,
        telemetry=telemetry,
        diagnosis=stability.diagnose(telemetry, config.stability),
        report=report,
        seconds=seconds,
        run_id=run.run_id,
    )


def _train(
    config: TrialConfig,
    rl: PPOSettings | GroupSettings,
    initial: InitialActor,
    *,
    folder: Path,
    run: TrialRun,
    progress: ProgressFile,
) -> tuple[StepTelemetry, ...]:
    from bai_sweep import ppo

    def on_step(step: StepTelemetry) -> None:
        run.log_metrics(step.metrics, step.step)
        progress.advance(step.step, _note(step))

    progress.stage("ppo", rl.steps)
    return ppo.train(
        initial.model,
        initial.tokenizer,
        rl,
        config.reward,
        seed=config.seed,
        device=initial.model.device,
        on_step=on_step,
        folder=folder,
        probes=config.model.sft if isinstance(rl, PPOSettings) and rl.kl_to_sft else None,
    )


def _evaluate(
    config: TrialConfig, initial: InitialActor, *, folder: Path, run: TrialRun, progress: ProgressFile
) -> EvalReport:
    from bai_sweep import evaluation, judging

    judge = judging.open_judge(config.judge, cache_dir=Path(config.evaluation.cache_dir).expanduser() / "judge")
    try:
        return evaluation.evaluate(
            initial.model,
            initial.tokenizer,
            config.evaluation,
            device=initial.model.device,
            on_progress=lambda done, total: progress.advance(done, total=total),
            judge=judge,
            samples_dir=folder / "samples",
        )
    except judging.BudgetError as error:
        raise UserError(f"{error}; with resume=true the trial goes on from there") from error
    finally:
        if judge is not None:
            run.log_metrics({f"judge/{name}": float(value) for name, value in asdict(judge.spent()).items()})


def _forget_checkpoints(folder: Path) -> None:
    """PPO's, with weights and optimizer state many times the size of all else: a finished trial needs them no more."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _save(initial: InitialActor, folder: Path, *, trained: str | None) -> None:
    from bai_sweep import merging

    shutil.rmtree(folder, ignore_errors=True)  # of an earlier attempt at this trial that did not finish
    merging.save_model(initial.model, initial.tokenizer, initial.recipe, folder, trained=trained)


def trial_name(params: Mapping[str, Any], config: TrialConfig) -> str:
    """A trial's name: its swept parameters, or the actor and alpha where nothing is swept."""
    if params:
        return ",".join(f"{key}={value}" for key, value in params.items())
    return f"alpha={config.alpha:g}" if config.actor.name == "bai" else config.actor.name


def seed_everything(seed: int) -> None:
    """Seeds the generators that libraries share; our own stages take the seed as an argument."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - lm-eval and datasets draw from the global generator
    torch.manual_seed(seed)


def quiet_libraries() -> None:
    """The terminal belongs to the progress display; transformers draws a bar for each checkpoint it loads."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def _report(result: TrialResult, run: TrialRun) -> None:
    run.log_metrics(result.metrics())
    tags = {f"verdict.{v.detector}": v.level for v in result.diagnosis.verdicts}
    run.set_tags({**tags, "verdict": result.diagnosis.summary(), "recipe": result.recipe.formula()})
    scores = [{"benchmark": s.benchmark, "score": s.value, "stderr": s.stderr, "n": s.n} for s in result.report.scores]
    verdicts = [asdict(verdict) for verdict in result.diagnosis.verdicts]
    for name, rows in {"scores.json": scores, "verdicts.json": verdicts}.items():
        if rows:
            run.log_table(rows, name)


def _draw(result: TrialResult, folder: Path, run: TrialRun) -> None:
    from bai_sweep.report import StudyReport, write_figures

    alone = StudyReport(name=result.label, folder=folder, command="", results=(result,))
    try:
        for figure in write_figures(alone, folder / "artifacts"):
            run.log_artifact(figure)
    except Exception:
        log.exception("the trial's figures could not be drawn; its result stands")


def _note(step: StepTelemetry) -> str:
    metrics = step.metrics
    kl = f"  KL {metrics['objective/kl']:.2f}" if "objective/kl" in metrics else ""
    return f"reward {metrics['objective/scores']:+.2f}  length {metrics['completions/mean_length']:.0f}{kl}"


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start
