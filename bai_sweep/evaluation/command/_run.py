"""`run`: a model from its checkpoint to a report."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bai_sweep.evaluation.command._settings import RunSettings, settings_of
from bai_sweep.records import EvalReport, UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def run(arguments: Sequence[str]) -> None:
    """Evaluates, with progress on standard error, and prints the scores.

    Raises:
        ConfigError: An argument is at fault.
        UserError: A benchmark, a judge, a device or the model is.
    """
    settings = settings_of(arguments)
    report = evaluate_checkpoint(settings)
    show(report, settings)


def evaluate_checkpoint(settings: RunSettings) -> EvalReport:
    """Scores the model of the settings and leaves `report.json` and `samples/` in their folder.

    Everything that can be checked without the model is checked before it is loaded. What was answered is kept as it
    comes: the same call goes on where an earlier one was broken off.

    Raises:
        UserError: See `run`.
    """
    from bai_sweep import evaluation
    from bai_sweep.devices import device_of
    from bai_sweep.judging import BudgetError, JudgeError, check_judge, name_of, open_judge

    _require_whole(settings.model)
    check_judge(settings.judge)
    evaluation.check(settings.evaluation, name_of(settings.judge))
    device = device_of(settings.device)
    folder = settings.folder
    _require_folder(folder)
    _quiet(settings)

    from bai_sweep.evaluation.command._progress import Progress

    cache, started = Path(settings.evaluation.cache_dir).expanduser() / "judge", time.perf_counter()
    with Progress() as progress:
        judge = open_judge(settings.judge, cache_dir=cache, on_progress=progress.judged)
        progress.say(f"loading {settings.model}")
        model, tokenizer = load_model(settings)
        try:
            report = evaluation.evaluate(
                model,
                tokenizer,
                settings.evaluation,
                device=device,
                on_progress=progress.advance,
                judge=judge,
                samples_dir=folder / "samples",
            )
        except (BudgetError, JudgeError, evaluation.BenchmarkError) as error:
            raise UserError(f"{error}\nwhat was answered is kept: the same command goes on from there") from error
    _write(
        report, settings, time.perf_counter() - started, None if judge is None else dataclasses.asdict(judge.spent())
    )
    return report


def load_model(settings: RunSettings) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The checkpoint and its tokenizer, on the CPU; no code that comes with it is run.

    Raises:
        UserError: It is not there, or is broken, or lacks weights, which would be drawn at random.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from bai_sweep.sources import reading, resolve

    name, revision = resolve(settings.model)
    dtype = "auto" if settings.dtype is None else getattr(torch, settings.dtype)
    load: Any = AutoModelForCausalLM.from_pretrained  # its type does not know of output_loading_info
    how = {"use_safetensors": True, "trust_remote_code": False, "output_loading_info": True}
    try:
        with reading(settings.model):
            model, found = load(name, revision=revision, dtype=dtype, **how)
    except (SafetensorError, RuntimeError) as error:  # RuntimeError: tensors of another shape than the configuration's
        raise UserError(f"the weights of {settings.model} cannot be loaded: {error}; fetch it again") from error
    if lacking := sorted(found["missing_keys"]):
        raise UserError(
            f"a model is evaluated with all of its weights; {settings.model} lacks {len(lacking)}, as {lacking[0]}; "
            "fetch it again"
        )
    place, at = resolve(settings.tokenizer or settings.model)
    with reading(settings.tokenizer or settings.model):
        tokenizer = AutoTokenizer.from_pretrained(place, revision=at, trust_remote_code=False)
    return model, tokenizer


def _require_whole(model: str) -> None:
    from bai_sweep.sources import resolve

    if (Path(resolve(model)[0]) / "adapter_config.json").is_file():
        raise UserError(
            f"a model is evaluated whole, {model} is an adapter; merge it into its base first: "
            f"python -m bai_sweep.merge sft.adapter={model} alpha=0 out=<folder>"
        )


def _require_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"the report goes into out={folder}, which cannot be made: {error.strerror}; name another folder"
        ) from error


def _quiet(settings: RunSettings) -> None:
    """The terminal belongs to the progress display; warnings still reach it."""
    import torch
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.getLogger("bai_sweep").setLevel(logging.WARNING)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)


def _write(report: EvalReport, settings: RunSettings, seconds: float, spent: dict[str, object] | None) -> None:
    from importlib.metadata import version

    record = {
        "model": settings.model,
        "settings": settings.model_dump(mode="json"),
        "packages": {name: version(name) for name in ("bai-sweep", "lm-eval", "torch", "transformers")},
        "seconds": round(seconds, 3),
        "judge": spent,
        "overall": report.overall,
        "overall_stderr": report.overall_stderr,
        "scores": [
            {name: getattr(score, name) for name in ("benchmark", "value", "stderr", "n", "metric", "figures")}
            for score in report.scores
        ],
        "missing": dict(report.missing),
    }
    path = settings.folder / "report.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(_plain(record), indent=1, default=str, allow_nan=False), encoding="utf-8")
    partial.replace(path)


def _plain(value: Any) -> Any:
    """The same with null for NaN and the infinities, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def show(report: EvalReport, settings: RunSettings) -> None:
    """Prints the table of scores."""
    from rich.table import Table

    from bai_sweep.evaluation.command._console import output

    table = Table("benchmark", "score", "± (1 s.e.)", "items", title=settings.model)
    table.add_column("metric", overflow="fold")
    for score in report.scores:
        added = score.figures.get("subset_stderr")
        error = f"{score.stderr:.1f}" + (f" (subset {added:.1f})" if added is not None else "")
        table.add_row(score.benchmark, f"{score.value:.1f}", error, str(score.n), score.metric)
    for name, reason in report.missing.items():
        table.add_row(name, "-", "-", "0", reason)
    if report.scores and not report.missing:
        table.add_row("overall", f"{report.overall:.1f}", f"{report.overall_stderr:.1f}", "", "mean", style="bold")
    console = output()
    console.print(table)
    if report.missing:
        console.print("no overall score: a benchmark is missing")
    console.print(f"report    {settings.folder / 'report.json'}\nitems     {settings.folder / 'samples'}")
