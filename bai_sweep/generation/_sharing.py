"""Whether a model gives the same answers where what rows begin with is computed once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bai_sweep.generation._cache import has_plain_cache
from bai_sweep.generation._heads import head_of
from bai_sweep.generation._rows import Begun, Rows
from bai_sweep.generation._scoring import pad_right

WINDOWS = ("attention_types", "window_size", "attention_window", "local_attention", "local_attention_window_len")
"""Names under which configurations have local attention that transformers' cache does not know of (GPT-Neo's)."""

HEAD, OWN = 8, (1, 24)
"""Tokens of the rows that are tried out: what they share, and what each has of its own."""


def can_share(model: PreTrainedModel) -> bool:
    """Whether rows may go on from one head, in sampling and in scoring.

    Three things have to hold. Every layer attends to everything before it. What a token's keys are depends on the
    tokens up to it alone, which is not so where rotary embeddings change with the length of the row (`dynamic`,
    `longrope`), or where windows or biases (MPT's ALiBi) count places of the cache, padding included. And it is seen:
    two rows of unequal length, tried out here, have the logits they have alone, up to rounding. The configuration is
    asked first, as what begins at a certain length is not seen in short rows.
    """
    config = model.config.get_text_config()
    if not has_plain_cache(model) or _changes_with_length(config) or any(getattr(config, n, None) for n in WINDOWS):
        return False
    with torch.no_grad():
        return _fills_a_cache(model) and _is_seen_to_share(model)


def _changes_with_length(config: Any) -> bool:
    """By the rule with which transformers computes rotary frequencies again (`dynamic_rope_update`)."""
    tables = [getattr(config, name, None) or {} for name in ("rope_parameters", "rope_scaling")]
    tables += [inner for table in tables for inner in table.values() if isinstance(inner, Mapping)]
    kinds = [str(table.get(key, "")) for table in tables for key in ("rope_type", "type")]
    return any("dynamic" in kind or kind == "longrope" for kind in kinds)


def _fills_a_cache(model: PreTrainedModel) -> bool:
    """Not OpenAI-GPT and RWKV, which take a cache as an argument and do nothing with it."""
    try:
        head_of(model, [0, 1])
    except ValueError:
        return False
    return True


def _is_seen_to_share(model: PreTrainedModel) -> bool:
    vocabulary = model.config.get_text_config().vocab_size
    head = [(5 * i + 1) % vocabulary for i in range(HEAD)]
    owns = [[(7 * i + 3 * n) % vocabulary for i in range(n + 1)] for n in OWN]  # the last is for a decoding step
    rows = [head + own for own in owns]
    expected = torch.stack([_alone(model, row) for row in rows])
    dtype = _computed_in(model)
    return all(_close(found, expected, dtype) for found in (_sampled(model, rows), _scored(model, head, owns)))


def _alone(model: PreTrainedModel, row: list[int]) -> Tensor:
    """Logits after all tokens but the last and after the last, (2, vocabulary), without cache or padding."""
    logits: Tensor = model(input_ids=torch.tensor([row], device=model.device), use_cache=False).logits
    return logits[0, -2:].float()


def _sampled(model: PreTrainedModel, rows: list[list[int]]) -> Tensor:
    """The same as the sampler sees them, (rows, 2, vocabulary)."""
    batch = Rows(model, Begun([row[:-1] for row in rows], HEAD), [2] * len(rows))
    first = batch.logits
    batch.newest = torch.tensor([row[-1] for row in rows], device=model.device)
    batch.advance()
    return torch.stack([first, batch.logits], dim=1)


def _scored(model: PreTrainedModel, head: list[int], owns: list[list[int]]) -> Tensor:
    """The same as scoring sees them, (rows, 2, vocabulary)."""
    ids = pad_right(owns, device=model.device)
    logits: Tensor = model(input_ids=ids, past_key_values=head_of(model, head), use_cache=True).logits
    return torch.stack([row[len(own) - 2 : len(own)] for row, own in zip(logits, owns, strict=True)]).float()


def _close(found: Tensor, expected: Tensor, dtype: torch.dtype) -> bool:
    """Whether logits of shape (..., vocabulary) are equal to half the digits of the dtype they were computed in."""
    spread = (expected - expected.mean(dim=-1, keepdim=True)).norm(dim=-1).mean()
    apart = (found - expected).norm(dim=-1).max()
    return bool(apart <= torch.finfo(dtype).eps ** 0.5 * spread)  # False for NaN


def _computed_in(model: PreTrainedModel) -> torch.dtype:
    kind = model.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else model.dtype
