"""Runs every benchmark of a configuration on a model in memory.

`lm_eval.evaluator.evaluate` is called rather than `simple_evaluate`: once for each benchmark, so that each has its
own shots, chat template and item limit and fails alone, and without the 2 s that `simple_evaluate` spends on
describing the machine.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bai_sweep.config import Benchmark, EvaluationConfig
from bai_sweep.evaluation._availability import require
from bai_sweep.evaluation._items import ItemRecord, items_of
from bai_sweep.evaluation._loading import Loaded, load
from bai_sweep.evaluation._record import described
from bai_sweep.evaluation._samples import RECORD, TABLE, save_record, save_samples, save_table
from bai_sweep.evaluation._scores import figures_of, score_of
from bai_sweep.evaluation._surroundings import eval_mode, own_randomness, quiet, seed_everything
from bai_sweep.judging import BudgetError, Judge
from bai_sweep.records import EvalReport, Score, UserError
from bai_sweep.scoring import Resources, using

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from bai_sweep.evaluation._adapter import ActorLM
    from bai_sweep.evaluation._cache import ResponseCache

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
    judge: Judge | None = None,
    samples_dir: Path | None = None,
) -> EvalReport:
    """Scores a model on every benchmark, with lm-eval, in this process.

    The model's mode and the global random generators are afterwards what they were. The same model, configuration
    and machine give the same scores. Answers are kept in `config.cache_dir` as they come: an evaluation that was
    broken off and is called again asks only for the rest. Its answers are those of an uninterrupted one up to the
    rounding of batches of other sizes.

    Args:
        model: a causal language model; moved to `device`.
        tokenizer: its own.
        config: checked.
        device: where the model runs.
        on_progress: told (items done, items in all).
        judge: for benchmarks that need one.
        samples_dir: if given, `<benchmark>.jsonl` is written there: every prompt's end, response and points; and
            `items.parquet`, the points of every item of every benchmark.

    Returns:
        The scores in points; with `allow_missing`, benchmarks that could not be run or failed stand in `missing`
        with the reason, and `overall` is NaN.

    Raises:
        UserError: a benchmark cannot run (see `check`) or its settings do not fit its task.
        BenchmarkError: a benchmark failed. Neither of the two is raised for a single benchmark where
            `allow_missing` is set.
        BudgetError: the judge's budget is spent; what it has answered is kept.
    """
    missing = require(config, None if judge is None else judge.name)
    wanted = {name: benchmark for name, benchmark in config.benchmarks.items() if name not in missing}
    if not wanted:
        return EvalReport((), missing)
    model.to(device)  # type: ignore[arg-type] # transformers wraps `to` with a decorator that loses its types
    with ExitStack() as surroundings:
        for context in (own_randomness(), quiet(), eval_mode(model)):
            surroundings.enter_context(context)
        surroundings.enter_context(using(Resources(judge, config.isolation, config.scoring_threads)))
        cache = surroundings.enter_context(closing(_open_cache(model, config)))
        run = _Run(model, tokenizer, config, cache, missing, on_progress, samples_dir)
        run.records |= {"model": cache.name, "judge": None if judge is None else judge.name}
        return run.report(wanted)


def _open_cache(model: PreTrainedModel, config: EvaluationConfig) -> ResponseCache:
    from bai_sweep.evaluation._cache import ResponseCache
    from bai_sweep.evaluation._digest import model_digest

    folder = Path(config.cache_dir).expanduser() / "responses"
    return ResponseCache(folder / f"{model_digest(model)[:32]}.sqlite")


@dataclass
class _Run:
    """One evaluation: its model, where it reports to, and what has been counted so far."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    config: EvaluationConfig
    cache: ResponseCache
    missing: dict[str, str]
    on_progress: Callable[[int, int], None]
    samples_dir: Path | None
    done: int = 0
    total: int = 0
    items: dict[str, tuple[ItemRecord, ...]] = field(default_factory=dict)
    records: dict[str, Any] = field(default_factory=lambda: {"benchmarks": {}})

    def report(self, wanted: Mapping[str, Benchmark]) -> EvalReport:
        """Loads every benchmark before the first is run, so that a bad one is found before time is spent."""
        loaded: dict[str, Loaded] = {}
        for name, benchmark in wanted.items():
            with self._guarded(name):
                if benchmark.chat_template and not self.tokenizer.chat_template:
                    raise UserError("the tokenizer has no chat template; set chat_template: false for this benchmark")
                loaded[name] = load(benchmark, self.config)
        self.total = sum(tasks.items for tasks in loaded.values())
        scores: list[Score] = []
        try:
            for name, tasks in loaded.items():
                self.on_progress(self.done, self.total)
                with self._guarded(name):
                    scores.append(self._score(name, wanted[name], tasks))
                self.done += tasks.items
            self.on_progress(self.done, self.total)
        finally:
            self._save()
        return EvalReport(tuple(scores), self.missing)

    def _save(self) -> None:
        """The items of the benchmarks that are finished, also where a later one failed."""
        if self.samples_dir is not None and self.items:
            save_table(self.samples_dir / TABLE, self.items)
            save_record(self.samples_dir / RECORD, {"settings": self.config.model_dump(mode="json"), **self.records})

    def _score(self, name: str, benchmark: Benchmark, loaded: Loaded) -> Score:
        from lm_eval.evaluator import evaluate as lm_evaluate

        seed_everything(self.config.seed)  # each benchmark anew, so that its scores do not depend on the others
        lm = self._adapter(loaded.items)
        results = lm_evaluate(
            lm,
            loaded.tasks,
            limit=benchmark.limit,
            samples=None if loaded.subset is None else dict(loaded.subset.chosen),
            bootstrap_iters=0,
            log_samples=True,
            apply_chat_template=benchmark.chat_template,
            fewshot_as_multiturn=benchmark.chat_template,
        )
        sizes = None if loaded.subset is None else loaded.subset.sizes
        items = items_of(benchmark, results, loaded.tasks, sizes)
        score = score_of(name, benchmark, items, figures_of(benchmark, results, loaded.tasks, items), sizes)
        if self.samples_dir is not None:
            save_samples(self.samples_dir / f"{name}.jsonl", items, lm.raw)
        self.items[name] = items
        self.records["benchmarks"][name] = described(benchmark, self.config, loaded, results)
        return score

    def _adapter(self, items: int) -> ActorLM:
        from bai_sweep.evaluation._adapter import ActorLM

        def on_requests(answered: int, requests: int) -> None:
            self.on_progress(self.done + items * answered // requests, self.total)

        return ActorLM(self.model, self.tokenizer, self.config, self.cache, on_requests)

    @contextmanager
    def _guarded(self, name: str) -> Iterator[None]:
        """A benchmark's failure ends the evaluation, or is recorded where `allow_missing` is set."""
        try:
            yield
        except BudgetError:
            raise
        except Exception as error:
            if not self.config.allow_missing:
                if isinstance(error, UserError):
                    raise UserError(f"benchmark {name}: {error}") from error
                raise BenchmarkError(f"benchmark {name} failed: {type(error).__name__}: {error}") from error
            log.exception("benchmark %s failed and is left out", name)
            self.missing[name] = f"failed: {type(error).__name__}: {error}"
