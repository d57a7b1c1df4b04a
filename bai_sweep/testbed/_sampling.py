"""Loads a model of the family and samples answers from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

SEED = 7


@dataclass(frozen=True)
class Sample:
    """Answers to a list of questions: the texts, and how many tokens each took (end-of-sequence included)."""

    texts: list[str]
    lengths: list[int]


def load(folder: Path) -> LlamaForCausalLM:
    """One model in fp32, ready to sample."""
    model: LlamaForCausalLM = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model


@torch.no_grad()
def sample(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    questions: Sequence[str],
    max_new_tokens: int,
    temperature: float,
) -> Sample:
    """One response to each question in chat form; temperature 0 is greedy."""
    chats = [[{"role": "user", "content": q}] for q in questions]
    prompts = tokenizer.apply_chat_template(chats, add_generation_prompt=True, tokenize=False)
    batch = tokenizer(prompts, return_tensors="pt", padding=True)
    torch.manual_seed(SEED)
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
    sampler: Any = model
    out = sampler.generate(**batch, max_new_tokens=max_new_tokens, **sampling)
    completions = out[:, batch["input_ids"].shape[1] :]
    lengths = (completions != tokenizer.pad_token_id).sum(dim=1).tolist()
    return Sample(tokenizer.batch_decode(completions, skip_special_tokens=True), lengths)
