"""One trial, whole: merge, train, diagnose, evaluate. Only this module knows the order."""

from __future__ import annotations

import json
import logging
import random
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bai_sweep.config import EvaluationConfig, GroupSettings, NoRL, PPOSettings, TrialConfig
from bai_sweep.devices import device_of
from bai_sweep.records import EvalReport, StepTelemetry, TrialResult, UserError, label_of
from bai_sweep.signals import Monitor, TrialPruned

if TYPE_CHECKING:
    from bai_sweep.merging import InitialActor
    from bai_sweep.progress import ProgressFile
    from bai_sweep.tracking import TrialRun

log = logging.getLogger(__name__)


def run_trial(
    config: TrialConfig,
    *,
    number: int,
    params: Mapping[str, Any],
    folder: Path,
    parent_run_id: str | None = None,
    monitor: Monitor | None = None,
    screen: int | None = None,
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
        monitor: hears of each step and may end the trial; a trial that it prunes has a result that says so.
        screen: items of each benchmark in a cheap evaluation, which the monitor hears before the full one is run.

    Raises:
        StopRequested: the monitor asked for it; PPO's state stands in a checkpoint.
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
        with tracker.trial(number, run_name(params, config), parent_run_id, config=config, folder=folder) as run:
            result = _Stages(config, number, params, folder, run, progress, monitor, screen).run()
            keep(result, folder, run, parent_run_id)
    except BaseException as error:
        progress.finish("stopped" if isinstance(error, KeyboardInterrupt) else "failed")
        raise
    progress.finish("done")
    return result


def keep(result: TrialResult, folder: Path, run: TrialRun, parent_run_id: str | None) -> None:
    """Tracks a result and writes it into the trial's folder; then what it stands without as well, for readers."""
    _report(result, run)
    result.save(folder)
    _forget_checkpoints(folder)
    _present(result, folder, run, parent_run_id)


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


@dataclass
class _Stages:
    """The stages of one trial, and what they have given so far."""

    config: TrialConfig
    number: int
    params: Mapping[str, Any]
    folder: Path
    run_: TrialRun
    progress: ProgressFile
    monitor: Monitor | None
    screen: int | None
    telemetry: tuple[StepTelemetry, ...] = ()
    report: EvalReport = field(default_factory=EvalReport)
    seconds: dict[str, float] = field(default_factory=dict)
    pruned: str | None = None

    def run(self) -> TrialResult:
        """All of them, or as many as the monitor wants."""
        from bai_sweep import merging, stability

        config = self.config
        quiet_libraries()
        seed_everything(config.seed)
        with self._timed("merge"):
            initial = merging.identified(merging.initialise(config.model, config.actor), config.model, config.actor)
            _keep_geometry(initial, self.folder)
            if config.save_merge:
                _save(initial, self.folder / "merge", trained=None)
            # transformers wraps `to` in a decorator that loses its type
            initial.model.to(device_of(config.device))  # type: ignore[arg-type]
        try:
            self._train_and_evaluate(initial)
        except TrialPruned as ended:
            self.pruned = str(ended)
            log.info("pruned: %s", self.pruned)
        return TrialResult(
            number=self.number,
            params=dict(self.params),
            seed=config.seed,
            recipe=initial.recipe,
            telemetry=self.telemetry,
            diagnosis=stability.diagnose(self.telemetry, config.stability),
            report=self.report,
            seconds=self.seconds,
            run_id=self.run_.run_id,
            pruned=self.pruned,
        )

    def _train_and_evaluate(self, initial: InitialActor) -> None:
        rl = self.config.rl
        if not isinstance(rl, NoRL):
            with self._timed("ppo", rl.steps):
                self._train(rl, initial)
            if self.config.save_actor:
                _save(initial, self.folder / "actor", trained=f"{rl.name}, {rl.steps} steps")
        with self._timed("evaluation"):
            if self.screen is not None and self.monitor is not None:
                cheap = self.config.evaluation.model_copy(update={"subset": self.screen})
                self.report = self._evaluate(initial, cheap)
                self.monitor.screened(self.report)
            self.report = self._evaluate(initial, self.config.evaluation)

    def _train(self, rl: PPOSettings | GroupSettings, initial: InitialActor) -> None:
        from bai_sweep import ppo

        def on_step(step: StepTelemetry) -> None:
            self.telemetry = (*self.telemetry, step)
            self.run_.log_metrics(step.metrics, step.step)
            self.progress.advance(step.step, _note(step))
            if self.monitor is not None:
                self.monitor.step(self.telemetry)

        ppo.train(
            initial.model,
            initial.tokenizer,
            rl,
            self.config.reward,
            seed=self.config.seed,
            device=initial.model.device,
            on_step=on_step,
            folder=self.folder,
            probes=self.config.model.sft if isinstance(rl, PPOSettings) and rl.kl_to_sft else None,
        )

    def _evaluate(self, initial: InitialActor, settings: EvaluationConfig) -> EvalReport:
        from bai_sweep import evaluation, judging

        def on_progress(done: int, total: int | None) -> None:
            self.progress.advance(done, total=total)
            if self.monitor is not None:
                self.monitor.safe_point()

        judge = judging.open_judge(self.config.judge, cache_dir=Path(settings.cache_dir).expanduser() / "judge")
        try:
            return evaluation.evaluate(
                initial.model,
                initial.tokenizer,
                settings,
                device=initial.model.device,
                on_progress=on_progress,
                judge=judge,
                samples_dir=self.folder / "samples",
            )
        except judging.BudgetError as error:
            raise UserError(f"{error}; with resume=true the trial goes on from there") from error
        finally:
            if judge is not None:
                spent = asdict(judge.spent())
                self.run_.log_metrics({f"judge/{name}": float(value) for name, value in spent.items()})

    @contextmanager
    def _timed(self, stage: str, total: int | None = None) -> Iterator[None]:
        self.progress.stage(stage, total)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = time.perf_counter() - start


def _forget_checkpoints(folder: Path) -> None:
    """PPO's, with weights and optimizer state many times the size of all else: a finished trial needs them no more."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _keep_geometry(initial: InitialActor, folder: Path) -> None:
    """How the merge lies to its models, for the study's report; it is of the merge alone, so it is small."""
    if initial.geometry:
        partial = folder / "geometry.json.partial"
        partial.write_text(json.dumps(initial.geometry), encoding="utf-8")
        partial.replace(folder / "geometry.json")


def _save(initial: InitialActor, folder: Path, *, trained: str | None) -> None:
    from bai_sweep import merging

    shutil.rmtree(folder, ignore_errors=True)  # of an earlier attempt at this trial that did not finish
    merging.save_model(initial.model, initial.tokenizer, initial.recipe, folder, trained=trained)


def trial_name(params: Mapping[str, Any], config: TrialConfig) -> str:
    """A trial's name: its swept parameters, or the actor and alpha where nothing is swept."""
    return label_of(params) or (f"alpha={config.alpha:g}" if config.actor.name == "bai" else config.actor.name)


def run_name(params: Mapping[str, Any], config: TrialConfig) -> str:
    """The name of a trial's run: with its seed, `alpha=0.5, seed=1`."""
    named = trial_name(params, config)
    return named if "seed" in params else f"{named}, seed={config.seed}"


def seed_everything(seed: int) -> None:
    """Seeds the generators that libraries share; our own stages take the seed as an argument."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - lm-eval and datasets draw from the global generator
    torch.manual_seed(seed)


def quiet_libraries() -> None:
    """The terminal belongs to the progress display, the log to the trial: no bars, no news of matplotlib's axes."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.getLogger("matplotlib").setLevel(logging.WARNING)


def _report(result: TrialResult, run: TrialRun) -> None:
    run.log_metrics(result.metrics())
    tags: dict[str, str] = {f"verdict.{v.detector}": v.level for v in result.diagnosis.verdicts}
    if result.pruned is not None:
        tags["pruned"] = result.pruned
    run.set_tags({**tags, "verdict": result.diagnosis.summary(), "recipe": result.recipe.formula()})
    scores = [{"benchmark": s.benchmark, "score": s.value, "stderr": s.stderr, "n": s.n} for s in result.report.scores]
    verdicts = [asdict(verdict) for verdict in result.diagnosis.verdicts]
    for name, rows in {"scores.json": scores, "verdicts.json": verdicts}.items():
        if rows:
            run.log_table(rows, name)


def _present(result: TrialResult, folder: Path, run: TrialRun, parent_run_id: str | None) -> None:
    from bai_sweep.report import StudyReport, write_figures
    from bai_sweep.tracking import trial_note

    alone = StudyReport(name=result.label, folder=folder, command="", results=(result,))
    try:
        run.set_tags({"mlflow.note.content": trial_note(result, parent_run_id)})
        for figure in write_figures(alone, folder / "artifacts", formats=("png",), only=("curves", "score_vs_alpha")):
            run.log_artifact(figure)
    except Exception:
        log.exception("the trial's description or figures could not be made; its result stands")


def _note(step: StepTelemetry) -> str:
    metrics = step.metrics
    kl = f"  KL {metrics['objective/kl']:.2f}" if "objective/kl" in metrics else ""
    return f"reward {metrics['objective/scores']:+.2f}  length {metrics['completions/mean_length']:.0f}{kl}"
