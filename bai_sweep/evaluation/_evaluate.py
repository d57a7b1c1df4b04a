"""Runs every benchmark of a configuration on a model in memory.

`lm_eval.evaluator.evaluate` is called rather than `simple_evaluate`: once for each benchmark, so that each has its
own shots, chat template and item limit and fails alone, and without the 2 s that `simple_evaluate` spends on
describing the machine.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bai_sweep.config import Benchmark, EvaluationConfig
from bai_sweep.evaluation._availability import require
from bai_sweep.evaluation._catalogue import find_task
from bai_sweep.evaluation._responses import decoding_of
from bai_sweep.evaluation._scores import save_samples, score_of
from bai_sweep.evaluation._surroundings import eval_mode, own_randomness, quiet, seed_everything
from bai_sweep.records import EvalReport, Score, UserError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from bai_sweep.evaluation._adapter import ActorLM

log = logging.getLogger(__name__)


class BenchmarkError(RuntimeError):
    """A benchmark raised while it was loaded, run or scored; its cause is the exception."""


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    config: EvaluationConfig,
    *,
    device: torch.device,
    on_progress: Callable[[int, int], None],
    samples_dir: Path | None = None,
) -> EvalReport:
    """Scores a model on every benchmark, with lm-eval, in this process.

    The model's mode and the global random generators are afterwards what they were. The same model, configuration
    and machine give the same scores.

    Args:
        model: a causal language model; moved to `device`.
        tokenizer: its own.
        config: checked.
        device: where the model runs.
        on_progress: told (items done, items in all).
        samples_dir: if given, `<benchmark>.jsonl` is written there: every prompt's end, response and points.

    Returns:
        The scores in points; with `allow_missing`, benchmarks that could not be run or failed stand in `missing`
        with the reason, and `overall` is NaN.

    Raises:
        UserError: a benchmark cannot run (see `check`) or its settings do not fit its task.
        BenchmarkError: a benchmark failed. Neither of the two is raised for a single benchmark where
            `allow_missing` is set.
    """
    missing = require(config)
    wanted = {name: benchmark for name, benchmark in config.benchmarks.items() if name not in missing}
    if not wanted:
        return EvalReport((), missing)
    model.to(device)  # type: ignore[arg-type] # transformers wraps `to` with a decorator that loses its types
    with ExitStack() as surroundings:
        for context in (own_randomness(), quiet(), eval_mode(model)):
            surroundings.enter_context(context)
        return _Run(model, tokenizer, config, missing, on_progress, samples_dir).report(wanted)


@dataclass
class _Loaded:
    """A benchmark's tasks, ready to run, and how many items they have."""

    tasks: Any  # lm-eval's TaskDict
    items: int


@dataclass
class _Run:
    """One evaluation: its model, where it reports to, and what has been counted so far."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    config: EvaluationConfig
    missing: dict[str, str]
    on_progress: Callable[[int, int], None]
    samples_dir: Path | None
    done: int = 0
    total: int = 0

    def report(self, wanted: Mapping[str, Benchmark]) -> EvalReport:
        """Loads every benchmark before the first is run, so that a bad one is found before time is spent."""
        loaded: dict[str, _Loaded] = {}
        for name, benchmark in wanted.items():
            with self._guarded(name):
                loaded[name] = _load(benchmark, self.config)
        self.total = sum(tasks.items for tasks in loaded.values())
        scores: list[Score] = []
        for name, tasks in loaded.items():
            self.on_progress(self.done, self.total)
            with self._guarded(name):
                scores.append(self._score(name, wanted[name], tasks))
            self.done += tasks.items
        self.on_progress(self.done, self.total)
        return EvalReport(tuple(scores), self.missing)

    def _score(self, name: str, benchmark: Benchmark, loaded: _Loaded) -> Score:
        from lm_eval.evaluator import evaluate as lm_evaluate

        seed_everything(self.config.seed)  # each benchmark anew, so that its scores do not depend on the others
        lm = self._adapter(loaded.items)
        results = lm_evaluate(
            lm,
            loaded.tasks,
            limit=benchmark.limit,
            bootstrap_iters=0,
            log_samples=True,
            apply_chat_template=benchmark.chat_template,
            fewshot_as_multiturn=benchmark.chat_template,
        )
        score = score_of(name, benchmark, results)
        if self.samples_dir is not None:
            save_samples(self.samples_dir / f"{name}.jsonl", benchmark, results, lm.raw)
        return score

    def _adapter(self, items: int) -> ActorLM:
        from bai_sweep.evaluation._adapter import ActorLM

        def on_requests(answered: int, requests: int) -> None:
            self.on_progress(self.done + items * answered // requests, self.total)

        return ActorLM(self.model, self.tokenizer, self.config, on_requests)

    @contextmanager
    def _guarded(self, name: str) -> Iterator[None]:
        """A benchmark's failure ends the evaluation, or is recorded where `allow_missing` is set."""
        try:
            yield
        except Exception as error:
            if not self.config.allow_missing:
                if isinstance(error, UserError):
                    raise UserError(f"benchmark {name}: {error}") from error
                raise BenchmarkError(f"benchmark {name} failed: {type(error).__name__}: {error}") from error
            log.exception("benchmark %s failed and is left out", name)
            self.missing[name] = f"failed: {type(error).__name__}: {error}"


def _load(benchmark: Benchmark, config: EvaluationConfig) -> _Loaded:
    """Builds a benchmark's tasks with only their own folders indexed.

    Raises:
        UserError: settings that would silently have no effect.
    """
    from lm_eval.tasks import TaskManager

    source = find_task(benchmark.task)
    manager = TaskManager(include_path=[str(folder) for folder in source.folders], include_defaults=False)
    loaded = manager.load([source.spec])
    for name, task in loaded["tasks"].items():
        shots = task.get_config("num_fewshot")
        if benchmark.num_fewshot is not None:
            task.set_config("num_fewshot", benchmark.num_fewshot)
        elif shots is None:
            task.set_config("num_fewshot", 0)
        task.set_fewshot_seed(config.seed)
        if task.OUTPUT_TYPE == "generate_until":
            decoding_of(task.get_config("generation_kwargs"), config.max_new_tokens)
        log.info("%s: %s shots, %d documents", name, task.get_config("num_fewshot"), len(task.eval_docs))
    limit = benchmark.limit
    sizes = [len(task.eval_docs) for task in loaded["tasks"].values()]
    return _Loaded(loaded, sum(size if limit is None else min(size, limit) for size in sizes))
