"""The log-probabilities of many continuations, each given its context."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from bai_sweep.generation._batches import batches_by_tokens
from bai_sweep.generation._families import Family, Prices, families
from bai_sweep.generation._heads import head_of
from bai_sweep.generation._scoring import TokenScorer, pad_right
from bai_sweep.generation._sharing import can_share


def continuation_logprobs(
    model: PreTrainedModel, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], batch_tokens: int
) -> Iterator[list[tuple[int, tuple[float, bool]]]]:
    """The log-probability of each continuation given its context, and whether greedy decoding would produce it.

    Pairs that feed the model the same tokens (the one-token options of a multiple-choice question) share one row, and
    what several rows begin with (a few-shot header) is computed once where that pays (`families`) and the model allows
    it (`can_share`).

    Args:
        model: Any causal language model.
        pairs: (context, continuation) as token ids, neither of them empty.
        batch_tokens: Rows times the longest row in one forward pass, at most.

    Yields:
        After each batch, (index of the pair, (sum of the continuation's log-probabilities in nats, greedy?)) of each
        pair that it answered. The longest row is in the first batch, and the longest of a family in its first.
    """
    askers: dict[tuple[int, ...], list[int]] = {}
    for i, (context, continuation) in enumerate(pairs):
        if not context or not continuation:
            raise ValueError(
                f"pair {i} has an empty {'continuation' if context else 'context'}; give one token at least"
            )
        askers.setdefault((*context, *continuation[:-1]), []).append(i)
    if not askers:
        return
    rows, scorer = list(askers), TokenScorer(model)
    for family in _families(model, rows, batch_tokens):
        members = [rows[r] for r in family.rows]
        # a pair whose continuation begins within the shared part needs its logits: that part ends before
        begins = min(len(pairs[i][0]) for row in members for i in askers[row]) - 1
        head = _head(model, members[0][: min(family.shared, begins)])
        for batch in batches_by_tokens([len(row) for row in members], batch_tokens):
            yield list(_score_batch(scorer, pairs, [members[k] for k in batch], askers, head))


def _families(model: PreTrainedModel, rows: Sequence[Sequence[int]], batch_tokens: int) -> list[Family]:
    found = families(rows, Prices(batch_tokens, new_tokens=0))
    if all(not family.shared for family in found) or can_share(model):
        return found
    return [Family(list(range(len(rows))), 0)]


def _head(model: PreTrainedModel, tokens: Sequence[int]) -> Cache | None:
    with torch.inference_mode():
        return head_of(model, tokens) if tokens else None


def _score_batch(
    scorer: TokenScorer,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    rows: Sequence[tuple[int, ...]],
    askers: dict[tuple[int, ...], list[int]],
    head: Cache | None,
) -> Iterator[tuple[int, tuple[float, bool]]]:
    """Scores the pairs of one batch of rows, all of which begin with what `head` holds."""
    shared = 0 if head is None else head.get_seq_length()
    asked = [(r, i) for r, row in enumerate(rows) for i in askers[row]]
    where: list[tuple[int, int]] = []
    targets: list[int] = []
    for r, i in asked:
        context, continuation = pairs[i]
        where += [(r, len(context) - 1 - shared + k) for k in range(len(continuation))]
        targets += continuation
    device = scorer.model.device
    row_index, positions = torch.tensor(where, device=device).T
    with torch.inference_mode():
        scores = scorer.score(
            pad_right([row[shared:] for row in rows], device=device),
            row_index,
            positions,
            torch.tensor(targets, device=device),
            greedy=True,
            past=head,
        )
    sizes = [len(pairs[i][1]) for _, i in asked]
    logprobs = torch.split(scores.logprobs.double().cpu(), sizes)
    greedy = torch.split(cast(Tensor, scores.greedy).cpu(), sizes)
    for (_, i), pair_logprobs, pair_greedy in zip(asked, logprobs, greedy, strict=True):
        yield i, (float(pair_logprobs.sum()), bool(pair_greedy.all()))
