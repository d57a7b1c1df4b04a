"""Many prompts continued within a token budget, each as if it were alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bai_sweep.generation._draw import uniform_numbers
from bai_sweep.generation._queue import Queue
from bai_sweep.generation._rows import Room
from bai_sweep.generation._sample import sample
from bai_sweep.generation._stops import StopStrings, eos_ids


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int | Sequence[int],
    batch_tokens: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seeds: Sequence[int] | None = None,
    stop_strings: Sequence[str] = (),
) -> Iterator[list[tuple[int, list[int]]]]:
    """Continues every prompt until EOS, a stop string or `max_new_tokens`.

    A batch has as many rows as responses of the expected length leave room for. That length is learned from the
    responses that are known; where they turn out longer, rows are suspended and go on in a later batch. What several
    prompts begin with is computed once where that pays (`families`) and the model allows it (`can_share`). A prompt's
    answer depends on its own seed and on none of this (up to rounding), so a run that was broken off goes on with the
    same answers.

    Args:
        model: Any causal language model; left in the mode and on the device it is.
        tokenizer: Gives EOS and padding, and decodes for stop strings.
        prompts: Token ids, none of them empty.
        max_new_tokens: At most this many new tokens each: one number, or one for each prompt.
        batch_tokens: Rows times filled positions of the cache in one batch, at most; a row that needs more is alone.
        temperature: 0 for greedy decoding.
        top_p: Share of the probability that tokens are drawn from, where `temperature` is above 0.
        seeds: One for each prompt, where `temperature` is above 0.
        stop_strings: A row ends once its text contains one of these; the caller cuts the text.

    Yields:
        After each batch, (index of the prompt, its new tokens without the EOS that ended them) of each row that has
        ended. The longest prompts come first, suspended rows last.

    Raises:
        ValueError: There are more or fewer limits than prompts, or no seeds where they are needed.
    """
    limits = [max_new_tokens] * len(prompts) if isinstance(max_new_tokens, int) else list(max_new_tokens)
    if len(limits) != len(prompts):
        raise ValueError(f"{len(prompts)} prompts need as many limits of new tokens, not {len(limits)}; or give one")
    if temperature > 0.0 and seeds is None:
        raise ValueError(f"at temperature {temperature} each prompt is sampled with its own seed; give seeds")
    ends = eos_ids(model, tokenizer)
    queue = Queue(model, prompts, limits, batch_tokens)
    for group, shared, few in queue:
        samples = sample(
            model,
            [queue.row(i) for i in group],
            max_new_tokens=[queue.left(i) for i in group],
            temperature=temperature,
            eos_token_ids=ends,
            uniform=_uniform(queue, group, seeds if temperature > 0.0 else None),
            stop=StopStrings(tokenizer, stop_strings) if stop_strings else None,
            top_p=top_p,
            shared=shared,
            drawn=[len(queue.drawn[i]) for i in group],
            room=Room(batch_tokens, few),
        )
        whole = queue.take(group, samples.completions(), samples.ended.tolist())
        yield [(i, _without_end(queue.drawn[i], ends)) for i in whole]


def _uniform(queue: Queue, group: Sequence[int], seeds: Sequence[int] | None) -> Tensor:
    """What a batch is drawn with, (tokens, rows): nothing for greedy decoding, else what is left of each row's own."""
    most = max(queue.left(i) for i in group)
    if seeds is None:
        return torch.zeros(1, 1, dtype=torch.float64).expand(most, len(group))
    numbers = torch.zeros(most, len(group), dtype=torch.float64)
    for column, i in enumerate(group):
        drawn, left = len(queue.drawn[i]), queue.left(i)
        own = uniform_numbers(drawn + left, 1, torch.Generator().manual_seed(seeds[i]))
        numbers[:left, column] = own[drawn:, 0]
    return numbers


def _without_end(tokens: list[int], ends: Sequence[int]) -> list[int]:
    return tokens[:-1] if tokens[-1] in ends else tokens
