"""Many requests at once: sorted by length, grouped by a token budget, answered in the order they came in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bai_sweep.generation._sample import sample
from bai_sweep.generation._scoring import TokenScorer, pad_right


def batches_by_tokens(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Groups of indices, longest first, so that rows times the longest row stay within `batch_tokens`.

    A row longer than the budget is a group of its own. The longest come first so that memory runs out at once or
    never.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    start = 0
    while start < len(order):
        rows = max(1, batch_tokens // max(1, lengths[order[start]]))
        yield order[start : start + rows]
        start += rows


def generate(  # noqa: PLR0917 - the order of the arguments is agreed with evaluation
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    batch_tokens: int,
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
    stop_strings: Sequence[str] = (),
) -> list[list[int]]:
    """Continues every prompt until EOS, a stop string or `max_new_tokens`.

    Args:
        model: Any causal language model; left in the mode and on the device it is.
        tokenizer: Gives EOS and padding, and decodes for stop strings.
        prompts: Token ids, none of them empty.
        max_new_tokens: At most this many new tokens each.
        batch_tokens: Rows times (longest prompt + `max_new_tokens`) in one batch, at most.
        temperature: 0 for greedy decoding.
        generator: Source of randomness where `temperature` is above 0.
        stop_strings: A row ends once its text contains one of these; the caller cuts the text.

    Returns:
        The new tokens of each prompt in input order, without the EOS that ended them.
    """
    answers: list[list[int]] = [[] for _ in prompts]
    ends = eos_ids(model, tokenizer)
    stop = _StopStrings(tokenizer, stop_strings) if stop_strings else None
    for group in batches_by_tokens([len(p) + max_new_tokens for p in prompts], batch_tokens):
        samples = sample(
            model,
            [prompts[i] for i in group],
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            eos_token_ids=ends,
            generator=generator,
            stop=stop,
        )
        for i, tokens in zip(group, samples.completions(), strict=True):
            answers[i] = tokens[:-1] if tokens[-1] in ends else tokens
    return answers


def continuation_logprobs(
    model: PreTrainedModel, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], batch_tokens: int
) -> list[tuple[float, bool]]:
    """The log-probability of each continuation given its context, and whether greedy decoding would produce it.

    Pairs that feed the model the same tokens (the one-token options of a multiple-choice question) share one row.

    Args:
        model: Any causal language model.
        pairs: (context, continuation) as token ids, neither of them empty.
        batch_tokens: Rows times the longest row in one forward pass, at most.

    Returns:
        (sum of the continuation's log-probabilities in nats, greedy?) for each pair in input order.
    """
    askers: dict[tuple[int, ...], list[int]] = {}
    for i, (context, continuation) in enumerate(pairs):
        if not context or not continuation:
            raise ValueError(
                f"pair {i} has an empty {'continuation' if context else 'context'}; give one token at least"
            )
        askers.setdefault((*context, *continuation[:-1]), []).append(i)
    rows, scorer = list(askers), TokenScorer(model)
    answers: list[tuple[float, bool]] = [(0.0, False)] * len(pairs)
    for group in batches_by_tokens([len(row) for row in rows], batch_tokens):
        for i, answer in _score_group(scorer, pairs, [rows[g] for g in group], askers):
            answers[i] = answer
    return answers


def _score_group(
    scorer: TokenScorer,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    rows: Sequence[tuple[int, ...]],
    askers: dict[tuple[int, ...], list[int]],
) -> Iterator[tuple[int, tuple[float, bool]]]:
    """Scores the pairs of one batch of rows."""
    asked = [(r, i) for r, row in enumerate(rows) for i in askers[row]]
    where: list[tuple[int, int]] = []
    targets: list[int] = []
    for r, i in asked:
        context, continuation = pairs[i]
        where += [(r, len(context) - 1 + k) for k in range(len(continuation))]
        targets += continuation
    device = scorer.model.device
    row_index, positions = torch.tensor(where, device=device).T
    with torch.inference_mode():
        scores = scorer.score(
            pad_right(rows, device=device), row_index, positions, torch.tensor(targets, device=device), greedy=True
        )
    sizes = [len(pairs[i][1]) for _, i in asked]
    logprobs = torch.split(scores.logprobs.double().cpu(), sizes)
    greedy = torch.split(cast(Tensor, scores.greedy).cpu(), sizes)
    for (_, i), pair_logprobs, pair_greedy in zip(asked, logprobs, greedy, strict=True):
        yield i, (float(pair_logprobs.sum()), bool(pair_greedy.all()))


def eos_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Every token that ends a response: the tokenizer's EOS and those of the model's generation config."""
    declared = getattr(model.generation_config, "eos_token_id", None)
    found = [tokenizer.eos_token_id, *(declared if isinstance(declared, list) else [declared])]
    return tuple(dict.fromkeys(int(i) for i in found if i is not None))


class _StopStrings:
    """Whether the tail of a row's text holds a stop string; only the tail is decoded, at every token."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stops: Sequence[str]) -> None:
        self.tokenizer, self.stops = tokenizer, tuple(stops)
        # A token may hold as little as one byte, so a string never spans more tokens than it has bytes.
        self.tail = max(len(s.encode()) for s in stops) + 4

    def __call__(self, tokens: Sequence[int]) -> bool:
        text = str(self.tokenizer.decode(list(tokens[-self.tail :]), skip_special_tokens=False))
        return any(stop in text for stop in self.stops)
