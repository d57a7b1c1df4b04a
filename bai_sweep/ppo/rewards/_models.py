"""Sequence-classification models as rewards."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import final

import torch
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from bai_sweep.generation import batches_by_tokens, pad_right
from bai_sweep.ppo._prompts import chat_ids
from bai_sweep.ppo.networks import ScalarModel
from bai_sweep.ppo.rewards._rewards import Completions, RewardTools
from bai_sweep.records import UserError
from bai_sweep.sources import fault_of, reading, resolve

REWARD_MODEL_TOKENS = 16384
"""Padded tokens in one forward pass of a reward model."""


@final
class ModelReward:
    """A sequence-classification model with one output, read at the last token of prompt and completion.

    Conversations go through the reward model's own chat template; text has its EOS appended. Both are what TRL's
    RewardTrainer trains on. A completion that was cut off is shown without the EOS, as unfinished as it is.

    Args:
        source: A checkpoint, or a model, which is moved to `device` and put into evaluation mode.
        device: Where it runs.
        tokenizer: Its tokenizer; None: that of the checkpoint, or of the one the model was loaded from.

    Raises:
        UserError: The tokenizer has no EOS token, or the model is of another kind.
    """

    def __init__(
        self,
        source: str | PreTrainedModel,
        device: torch.device,
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> None:
        origin = source if isinstance(source, str) else str(getattr(source.config, "_name_or_path", ""))
        self.tokenizer = _tokenizer(origin) if tokenizer is None else tokenizer
        if self.tokenizer.eos_token is None:
            raise UserError(
                f"a reward model is shown where a completion ends; the tokenizer of {origin!r} has no EOS token; "
                "set eos_token in its tokenizer_config.json"
            )
        if isinstance(source, str):
            self.model = ScalarModel.load(source, torch.float32, device)
        else:
            self.model = ScalarModel.of(source).to(device).eval()
        self.device = device

    def check(self, columns: Collection[str]) -> None:
        """A model reads prompts and completions only."""

    @torch.inference_mode()
    def __call__(self, done: Completions, tools: RewardTools) -> list[float | None]:
        """One score a completion.

        Raises:
            UserError: A row is longer than the model's positions.
        """
        rows = [self._encode(*row) for row in zip(done.batch.prompts, done.texts, done.ended, strict=True)]
        self._check_lengths([len(row) for row in rows], tools.step)
        scores: list[float | None] = [None] * len(rows)
        for group in batches_by_tokens([len(row) for row in rows], REWARD_MODEL_TOKENS):
            chosen = [rows[i] for i in group]
            last = torch.tensor([len(row) - 1 for row in chosen], device=self.device)
            index = torch.arange(len(chosen), device=self.device)
            values: list[float] = self.model(pad_right(chosen, device=self.device), index, last).tolist()
            for i, value in zip(group, values, strict=True):
                scores[i] = value
        return scores

    def _check_lengths(self, lengths: Sequence[int], step: int) -> None:
        # Past its last position a model fails, or says something it has not learned.
        positions = getattr(self.model.backbone.config.get_text_config(), "max_position_embeddings", None)
        long = [length for length in lengths if positions is not None and length > positions]
        if long:
            raise UserError(
                f"a reward model's row fits in its {positions} positions; step {step}: rows of "
                f"{', '.join(map(str, long))} tokens, prompt and template included; lower max_new_tokens or "
                "max_prompt_tokens, or take a reward model with more"
            )

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


def _tokenizer(source: str) -> PreTrainedTokenizerBase:
    if fault := fault_of(source):
        raise UserError(f"a reward model brings its tokenizer; {fault}; or pass it as reward_processing_classes")
    name, revision = resolve(source)
    with reading(source):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(name, revision=revision)
    return tokenizer
