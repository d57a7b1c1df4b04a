"""What completions are paid: named reward functions and reward models, summed with their weights.

Functions have TRL's signature, `fn(prompts=..., completions=..., completion_ids=..., **columns)`, sync or async,
and return a float or None (not applicable) for each completion. A completion to which none applies scores 0.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
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

log = logging.getLogger(__name__)

REWARD_MODEL_TOKENS = 16384
"""Padded tokens in one forward pass of a reward model."""


@dataclass(frozen=True)
class Scored:
    """The rewards of one batch: the weighted sum, one a completion, and each function's mean."""

    total: tuple[float, ...]
    means: Mapping[str, float]


class RewardSource(Protocol):
    """Scores the completions of one batch, of which `ended` says which were not cut off; None: not applicable."""

    def __call__(
        self, batch: PromptBatch, texts: Sequence[str], completion_ids: Sequence[Sequence[int]], ended: Sequence[bool]
    ) -> Sequence[float | None] | Awaitable[Sequence[float | None]]: ...


@final
class FunctionReward:
    """A Python callable, named `package.module:name`.

    Raises:
        UserError: There is no such module or attribute, it is not callable, or TRL misses a package to run it.
    """

    def __init__(self, name: str) -> None:
        module, _, attribute = name.partition(":")
        try:
            self.function: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise UserError(f"a reward function is importable as 'package.module:name'; {name!r}: {error}") from error
        if not callable(self.function):
            raise UserError(f"a reward function is callable; {name!r} is of type {type(self.function).__name__}")
        if module == "trl.rewards":
            self._try_out(name)

    def _try_out(self, name: str) -> None:
        """Calls TRL's function with no completions: it looks for its optional package, math-verify, only then."""
        try:
            self.function(prompts=[], completions=[], completion_ids=[], solution=[])
        except ImportError as error:
            raise UserError(
                f"a reward function has the packages it needs; {name!r}: {error}; "
                "pip install 'math-verify[antlr4_9_3]>=0.8'"
            ) from error

    def __call__(
        self, batch: PromptBatch, texts: Sequence[str], completion_ids: Sequence[Sequence[int]], ended: Sequence[bool]
    ) -> Any:
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
    RewardTrainer trains on. A completion that was cut off is shown without the EOS, as unfinished as it is.

    Raises:
        UserError: The tokenizer has no EOS token, or the checkpoint is of another kind.
    """

    def __init__(self, source: str, device: torch.device) -> None:
        name, revision = resolve(source)
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(name, revision=revision)
        if self.tokenizer.eos_token is None:
            raise UserError(
                f"a reward model is shown where a completion ends; the tokenizer of {source!r} has no EOS token; "
                "set eos_token in its tokenizer_config.json"
            )
        self.model = ScalarModel.load(source, torch.float32, device)
        self.device = device

    @torch.inference_mode()
    def __call__(
        self, batch: PromptBatch, texts: Sequence[str], completion_ids: Sequence[Sequence[int]], ended: Sequence[bool]
    ) -> list[float | None]:
        """One score a completion."""
        rows = [self._encode(*row) for row in zip(batch.prompts, texts, ended, strict=True)]
        scores: list[float | None] = [None] * len(rows)
        for group in batches_by_tokens([len(row) for row in rows], REWARD_MODEL_TOKENS):
            chosen = [rows[i] for i in group]
            last = torch.tensor([len(row) - 1 for row in chosen], device=self.device)
            index = torch.arange(len(chosen), device=self.device)
            values: list[float] = self.model(pad_right(chosen, device=self.device), index, last).tolist()
            for i, value in zip(group, values, strict=True):
                scores[i] = value
        return scores

    def _encode(self, prompt: str | list[dict[str, str]], text: str, ended: bool) -> list[int]:
        if isinstance(prompt, str):
            ids = [int(i) for i in self.tokenizer(f"{prompt}{text}{self.tokenizer.eos_token}")["input_ids"]]
        else:
            ids = chat_ids(self.tokenizer, [*prompt, {"role": "assistant", "content": text}])
        return ids if ended else self._without_eos(ids)

    def _without_eos(self, ids: list[int]) -> list[int]:
        """Drops a final EOS and the white-space that templates write after it."""
        # Not apply_chat_template's continue_final_message: it refuses templates that drop a message's thoughts.
        end = len(ids)
        while end and not str(self.tokenizer.decode(ids[end - 1 : end])).strip():
            end -= 1
        return ids[: end - 1] if end and ids[end - 1] == self.tokenizer.eos_token_id else ids


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
        self,
        batch: PromptBatch,
        texts: Sequence[str],
        completion_ids: Sequence[Sequence[int]],
        ended: Sequence[bool],
        *,
        step: int,
    ) -> Scored:
        """The weighted sum of all rewards; None counts as nothing earned.

        Completions for which every function says None score 0; how many there are is logged.

        Args:
            batch: The prompts.
            texts: The completions as text.
            completion_ids: The completions as the actor wrote them.
            ended: Whether each ended by itself; reward models see the others without an EOS.
            step: For messages.

        Raises:
            UserError: A function gave another number of rewards, or something that is not a finite number. It names
                the function and the step.
        """
        given = _settle({name: source(batch, texts, completion_ids, ended) for name, source in self.sources.items()})
        total, means, paid = [0.0] * len(texts), {}, [False] * len(texts)
        for name, values in given.items():
            rewards = _checked(name, values, len(texts), step)
            earned = [r for r in rewards if r is not None]
            means[name] = math.fsum(earned) / len(earned) if earned else 0.0
            total = [t + self.weights[name] * (r or 0.0) for t, r in zip(total, rewards, strict=True)]
            paid = [p or r is not None for p, r in zip(paid, rewards, strict=True)]
        if not all(paid):
            log.warning(
                "step %d: no reward function applies to %d of %d completions, which score 0",
                step,
                paid.count(False),
                len(paid),
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
