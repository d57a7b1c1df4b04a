"""What completions are paid: named reward functions and reward models, summed with their weights.

Functions have TRL's signature, `fn(prompts=..., completions=..., completion_ids=..., **columns)`, sync or async,
and return a float or None (not applicable) for each completion.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import math
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, final

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from bai_sweep.config import RewardConfig
from bai_sweep.generation import batches_by_tokens, pad_right
from bai_sweep.ppo._prompts import PromptBatch, chat_ids
from bai_sweep.ppo._scalar import ScalarModel
from bai_sweep.records import UserError
from bai_sweep.sources import resolve

REWARD_MODEL_TOKENS = 16384
"""Padded tokens in one forward pass of a reward model."""


@dataclass(frozen=True)
class Scored:
    """The rewards of one batch: the weighted sum, one a completion, and each function's mean."""

    total: tuple[float, ...]
    means: Mapping[str, float]


class RewardSource(Protocol):
    """Scores the completions of one batch; None where it does not apply."""

    def __call__(
        self, batch: PromptBatch, texts: Sequence[str], completion_ids: Sequence[Sequence[int]]
    ) -> Sequence[float | None] | Awaitable[Sequence[float | None]]: ...


@final
class FunctionReward:
    """A Python callable, named `package.module:name`."""

    def __init__(self, name: str) -> None:
        module, _, attribute = name.partition(":")
        try:
            self.function: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise UserError(f"a reward function is importable as 'package.module:name'; {name!r}: {error}") from error

    def __call__(self, batch: PromptBatch, texts: Sequence[str], completion_ids: Sequence[Sequence[int]]) -> Any:
        """Calls it with conversations where the prompts are conversations, else with text."""
        completions = [
            text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]
            for prompt, text in zip(batch.prompts, texts, strict=True)
        ]
        columns = {name: list(values) for name, values in batch.columns.items()}
        return self.function(
            prompts=list(batch.prompts),
            completions=completions,
            completion_ids=[list(ids) for ids in completion_ids],
            **columns,
        )


@final
class ModelReward:
    """A sequence-classification checkpoint with one output, read at the last token of prompt and completion.

    Conversations go through the reward model's own chat template; text has its EOS appended. Both are what TRL's
    RewardTrainer trains on.
    """

    def __init__(self, source: str, device: torch.device) -> None:
        name, revision = resolve(source)
        self.model = ScalarModel.load(source, torch.float32, device)
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(name, revision=revision)
        self.device = device

    @torch.inference_mode()
    def __call__(
        self, batch: PromptBatch, texts: Sequence[str], completion_ids: Sequence[Sequence[int]]
    ) -> list[float | None]:
        """One score a completion."""
        rows = [self._encode(prompt, text) for prompt, text in zip(batch.prompts, texts, strict=True)]
        scores: list[float | None] = [None] * len(rows)
        for group in batches_by_tokens([len(row) for row in rows], REWARD_MODEL_TOKENS):
            chosen = [rows[i] for i in group]
            last = torch.tensor([len(row) - 1 for row in chosen], device=self.device)
            index = torch.arange(len(chosen), device=self.device)
            values: list[float] = self.model(pad_right(chosen, device=self.device), index, last).tolist()
            for i, value in zip(group, values, strict=True):
                scores[i] = value
        return scores

    def _encode(self, prompt: str | list[dict[str, str]], text: str) -> list[int]:
        if isinstance(prompt, str):
            return [int(i) for i in self.tokenizer(f"{prompt}{text}{self.tokenizer.eos_token}")["input_ids"]]
        messages = [*prompt, {"role": "assistant", "content": text}]
        return chat_ids(self.tokenizer, messages)


@final
class Rewards:
    """All rewards of a configuration."""

    def __init__(self, config: RewardConfig, device: torch.device) -> None:
        self.weights = {name: function.weight for name, function in config.functions.items()}
        self.sources: dict[str, RewardSource] = {
            name: FunctionReward(function.function) if function.function else ModelReward(str(function.model), device)
            for name, function in config.functions.items()
        }

    def score(
        self, batch: PromptBatch, texts: Sequence[str], completion_ids: Sequence[Sequence[int]], *, step: int
    ) -> Scored:
        """The weighted sum of all rewards; None counts as nothing earned.

        Raises:
            UserError: A function gave another number of rewards, or something that is not a finite number, or no
                function applied to a completion. It names the function and the step.
        """
        given = _settle({name: source(batch, texts, completion_ids) for name, source in self.sources.items()})
        total, means = [0.0] * len(texts), {}
        for name, values in given.items():
            rewards = _checked(name, values, len(texts), step)
            earned = [r for r in rewards if r is not None]
            means[name] = math.fsum(earned) / len(earned) if earned else 0.0
            total = [t + self.weights[name] * (r or 0.0) for t, r in zip(total, rewards, strict=True)]
        for row in range(len(texts)):
            if all(values[row] is None for values in given.values()):
                raise UserError(
                    f"each completion gets a reward; step {step}: every function said None for number {row}"
                )
        return Scored(tuple(total), means)


def _checked(name: str, values: Any, count: int, step: int) -> list[float | None]:
    values = values.tolist() if hasattr(values, "tolist") else values  # tensors and arrays
    if not isinstance(values, Sequence) or len(values) != count:
        got = f"{len(values)} values" if isinstance(values, Sequence) else type(values).__name__
        raise UserError(f"reward function {name!r} returns a list of {count} rewards; step {step}: it returned {got}")
    try:
        rewards = [None if value is None else float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise UserError(f"reward function {name!r} returns numbers or None; step {step}: {error}") from error
    for row, reward in enumerate(rewards):
        if reward is not None and not math.isfinite(reward):
            raise UserError(
                f"reward function {name!r} returns finite rewards; step {step}, completion {row}: {reward}"
            )
    return rewards


def _settle(given: dict[str, Any]) -> dict[str, Any]:
    """Awaits what is awaitable, all at the same time, also when the caller runs inside an event loop."""
    waiting = {name: value for name, value in given.items() if inspect.isawaitable(value)}
    if not waiting:
        return given

    async def gather() -> list[Any]:
        return await asyncio.gather(*waiting.values())

    with ThreadPoolExecutor(max_workers=1) as thread:
        results = thread.submit(lambda: asyncio.run(gather())).result()
    return given | dict(zip(waiting, results, strict=True))


def completion_texts(
    tokenizer: PreTrainedTokenizerBase, completion_ids: Sequence[Sequence[int]], hidden: Collection[int]
) -> list[str]:
    """Completions as text without the tokens `hidden` (EOS, padding); all others, `<think>` too, are kept."""
    kept = [[i for i in ids if i not in hidden] for ids in completion_ids]
    texts: list[str] = tokenizer.batch_decode(kept, skip_special_tokens=False)
    return texts
