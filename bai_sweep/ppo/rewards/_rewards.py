"""What completions are paid: named rewards, summed with their weights.

A reward gives a float or None (not applicable) for each completion. A completion to which none applies scores 0.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any, Protocol, final, runtime_checkable

from transformers import PreTrainedTokenizerBase, TrainerState

from bai_sweep.ppo._errors import DivergenceError
from bai_sweep.ppo._prompts import PromptBatch
from bai_sweep.ppo.rewards._awaiting import EventLoop, awaited
from bai_sweep.records import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Completions:
    """What is to be scored.

    Args:
        batch: The prompts.
        texts: The completions as text.
        token_ids: The completions as the actor wrote them.
        ended: Whether each ended by itself rather than at the token limit.
    """

    batch: PromptBatch
    texts: Sequence[str]
    token_ids: Sequence[Sequence[int]]
    ended: Sequence[bool]


@dataclass(frozen=True)
class RewardTools:
    """What TRL hands to reward functions beside the completions.

    Args:
        step: For messages.
        trainer_state: Of transformers; `global_step` counts the steps that are done.
        log_metric: `log_metric(name, value)`: a figure for the step's telemetry.
    """

    step: int
    trainer_state: TrainerState
    log_metric: Callable[[str, float], None]


@runtime_checkable
class RewardSource(Protocol):
    """Scores completions; None: not applicable."""

    def check(self, columns: Collection[str]) -> None:
        """Raises a UserError if it cannot be called with a dataset of these columns."""

    def __call__(
        self, done: Completions, tools: RewardTools
    ) -> Sequence[float | None] | Awaitable[Sequence[float | None]]: ...


@dataclass(frozen=True)
class Given:
    """What the rewards of one process gave: one value a completion, by reward, and what they logged, by name."""

    rewards: Mapping[str, Sequence[float | None]]
    logged: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Scored:
    """The rewards of one batch.

    Args:
        total: The weighted sum, one a completion; 0 where no reward applies.
        applies: Whether any reward applies to it.
        means: Of each reward, over the completions to which it applies; absent if there is none.
        deviations: The standard deviation of the same (n - 1); absent for fewer than two.
        logged: The mean of each figure that functions logged.
    """

    total: tuple[float, ...]
    applies: tuple[bool, ...]
    means: Mapping[str, float]
    deviations: Mapping[str, float] = field(default_factory=dict)
    logged: Mapping[str, float] = field(default_factory=dict)

    def metrics(self) -> dict[str, float]:
        """The rewards under the names of docs/metrics.md."""
        means = {f"rewards/{name}/mean": value for name, value in self.means.items()}
        return {**means, **{f"rewards/{name}/std": value for name, value in self.deviations.items()}}


@final
class Rewards:
    """Named rewards and their weights."""

    def __init__(self, sources: Mapping[str, RewardSource], weights: Mapping[str, float]) -> None:
        self.sources, self.weights = dict(sources), dict(weights)
        self.trainer_state = TrainerState()
        self._loop = EventLoop()

    def check(self, columns: Collection[str]) -> None:
        """Whether every reward can be called.

        Raises:
            UserError: A function cannot take what it would be given, or needs what is not there.
        """
        for source in self.sources.values():
            source.check(columns)

    def give(
        self,
        batch: PromptBatch,
        texts: Sequence[str],
        completion_ids: Sequence[Sequence[int]],
        ended: Sequence[bool],
        *,
        step: int,
    ) -> Given:
        """Every reward for some completions.

        Args:
            batch: The prompts.
            texts: The completions as text.
            completion_ids: The completions as the actor wrote them.
            ended: Whether each ended by itself; reward models see the others without an EOS.
            step: For messages.

        Raises:
            UserError: A function failed, gave another number of rewards, or something that is not a number. It names
                the function and the step.
        """
        logged: dict[str, list[float]] = defaultdict(list)

        def log_metric(name: str, value: Any) -> None:
            logged[name].append(_finite_metric(name, value, step))

        tools = RewardTools(step, self.trainer_state, log_metric)
        done = Completions(batch, texts, completion_ids, ended)
        given = awaited({name: source(done, tools) for name, source in self.sources.items()}, self._loop)
        return Given({name: _checked(name, values, len(texts), step) for name, values in given.items()}, dict(logged))

    def combine(self, parts: Sequence[Given], *, step: int) -> Scored:
        """The weighted sum of a whole batch's rewards, given in parts; None counts as nothing earned.

        Completions for which every function says None score 0; how many there are is logged.

        Raises:
            DivergenceError: A reward is not finite. It names the function, the step and the completion.
        """
        given = {name: [reward for part in parts for reward in part.rewards[name]] for name in self.sources}
        for name, rewards in given.items():
            _require_finite(name, rewards, step)
        rows = list(zip(*given.values(), strict=True))
        weights = [self.weights[name] for name in given]
        applies = tuple(any(reward is not None for reward in row) for row in rows)
        if unpaid := applies.count(False):
            log.warning(
                "step %d: no reward function applies to %d of %d completions, which score 0", step, unpaid, len(rows)
            )
        earned = {name: [r for r in rewards if r is not None] for name, rewards in given.items()}
        names = dict.fromkeys(name for part in parts for name in part.logged)
        return Scored(
            total=tuple(sum(w * (r or 0.0) for w, r in zip(weights, row, strict=True)) for row in rows),
            applies=applies,
            means={name: fmean(rewards) for name, rewards in earned.items() if rewards},
            deviations={name: stdev(rewards) for name, rewards in earned.items() if len(rewards) > 1},
            logged={name: fmean(v for part in parts for v in part.logged.get(name, ())) for name in names},
        )

    def close(self) -> None:
        """Ends the thread of async functions; the next use starts another."""
        self._loop.close()


def _checked(name: str, values: Any, count: int, step: int) -> list[float | None]:
    values = values.tolist() if hasattr(values, "tolist") else values  # tensors and arrays
    if not isinstance(values, Sequence) or len(values) != count:
        got = f"{len(values)} values" if isinstance(values, Sequence) else type(values).__name__
        raise UserError(f"reward function {name!r} returns a list of {count} rewards; step {step}: it returned {got}")
    try:
        return [None if value is None else float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise UserError(f"reward function {name!r} returns numbers or None; step {step}: {error}") from error


def _require_finite(name: str, rewards: Sequence[float | None], step: int) -> None:
    for row, reward in enumerate(rewards):
        if reward is not None and not math.isfinite(reward):
            raise DivergenceError(
                f"reward function {name!r} returns finite rewards; step {step}, completion {row}: {reward}; return "
                "None where a completion has none"
            )


def _finite_metric(name: str, value: Any, step: int) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise UserError(f"log_metric({name!r}, ...) takes a number; step {step}: {error}") from error
    if not math.isfinite(number):
        raise UserError(f"log_metric({name!r}, ...) takes a finite number; step {step}: {number}")
    return number


def hidden_tokens(tokenizer: PreTrainedTokenizerBase, ends: Collection[int]) -> frozenset[int]:
    """What the text of a completion does not show: the tokens that end it, and padding."""
    return frozenset(ends) if tokenizer.pad_token_id is None else frozenset({*ends, int(tokenizer.pad_token_id)})


def completion_texts(
    tokenizer: PreTrainedTokenizerBase, completion_ids: Sequence[Sequence[int]], hidden: Collection[int]
) -> list[str]:
    """Completions as text without the tokens `hidden` (EOS, padding); all others, `<think>` too, are kept."""
    kept = [[i for i in ids if i not in hidden] for ids in completion_ids]
    texts: list[str] = tokenizer.batch_decode(kept, skip_special_tokens=False)
    return texts
