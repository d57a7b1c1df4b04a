"""Batched sampling: left-padded prompts, one KV cache, finished rows dropped as they end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from bai_sweep.generation._draw import draw, uniform_numbers
from bai_sweep.generation._rows import Begun, Room, Rows, Stop


@dataclass(frozen=True)
class Samples:
    """What `sample` drew, one row a prompt, padded on the right with 0.

    Args:
        tokens: Shape (rows, longest), the new tokens with the EOS that ended them.
        logprobs: Shape (rows, longest), fp32, nats: each token's under the distribution it was drawn from (at the
            sampling temperature; at temperature 0, the model's own).
        lengths: Shape (rows,), new tokens of each row, at least 1.
        ended: Shape (rows,), whether EOS or a stop ended the row (rather than the token limit, or want of room).
    """

    tokens: Int[Tensor, "rows longest"]
    logprobs: Float[Tensor, "rows longest"]
    lengths: Int[Tensor, " rows"]
    ended: Bool[Tensor, " rows"]

    @classmethod
    def of(cls, rows: Rows) -> Samples:
        """What a decoded batch stored, with everything past each row's end set to 0."""
        longest = int(rows.lengths.max())
        drawn = torch.arange(longest, device=rows.lengths.device) < rows.lengths[:, None]
        return cls(rows.tokens[:, :longest] * drawn, rows.logprobs[:, :longest] * drawn, rows.lengths, rows.ended)

    @classmethod
    def joined(cls, parts: Sequence[Samples]) -> Samples:
        """The rows of several batches as one, on the first one's device."""
        longest, device = max(part.tokens.shape[1] for part in parts), parts[0].tokens.device

        def wide(tensor: Tensor) -> Tensor:
            return torch.nn.functional.pad(tensor.to(device), (0, longest - tensor.shape[1]))

        return cls(
            torch.cat([wide(part.tokens) for part in parts]),
            torch.cat([wide(part.logprobs) for part in parts]),
            torch.cat([part.lengths.to(device) for part in parts]),
            torch.cat([part.ended.to(device) for part in parts]),
        )

    def completions(self) -> list[list[int]]:
        """The rows as lists, without padding."""
        rows: list[list[int]] = self.tokens.tolist()
        return [row[:length] for row, length in zip(rows, self.lengths.tolist(), strict=True)]


@torch.no_grad()  # not inference_mode, in which autocast would cast every weight again at every token
def sample(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int | Sequence[int],
    temperature: float,
    eos_token_ids: Sequence[int],
    generator: torch.Generator | None = None,
    uniform: Float[Tensor, "tokens rows"] | None = None,
    stop: Stop | None = None,
    static_cache: bool = False,
    top_p: float = 1.0,
    shared: int = 0,
    drawn: Sequence[int] = (),
    room: Room | None = None,
) -> Samples:
    """Continues every prompt until EOS, `stop` or `max_new_tokens`.

    Every row draws from uniform numbers of its own, made before the first token: what a row becomes does not depend
    on which other rows are in the batch or when they end (up to rounding).

    Args:
        model: Any causal language model; its mode and device are left as they are.
        prompts: Token ids, none of them empty.
        max_new_tokens: At least 1: one number, or one for each prompt.
        temperature: Logits are divided by it; 0 takes the most probable token.
        eos_token_ids: Tokens that end a row.
        generator: A CPU generator; the same state gives the same samples.
        uniform: The uniform numbers themselves, as `uniform_numbers` draws them (processes that share a batch each
            take their columns of it); drawn from `generator` if not given.
        stop: Called with a row's response after each token; True ends the row.
        static_cache: Gives every decoding step the same shapes: attention reads the whole cache at each token, and
            finished rows leave only when the batch can be halved. For a model compiled beforehand
            (`model.compile(mode="reduce-overhead", dynamic=False)`); slower otherwise.
        top_p: Tokens are drawn from the most probable ones that together have this probability (nucleus sampling,
            Holtzman et al. 2020); 1 for all.
        shared: How many leading tokens all prompts have in common; they are fed once. For models that `can_share`
            says yes to (ignored by a static cache and by models that keep their own cache).
        drawn: How many of each prompt's last tokens are the beginning of its response, which `stop` sees too; none
            if not given.
        room: What the cache may take; it then grows as it is filled, and rows are suspended that find no room: they
            are neither `ended` nor at their limit. Without it, nothing is suspended.

    Returns:
        The new tokens and their log-probabilities.

    Raises:
        ValueError: There is no prompt, an empty prompt, or no token to sample; or the model cannot have a static
            cache, or is to have one and `room`.
    """
    limits = _limits(prompts, max_new_tokens)
    rows = Rows(model, Begun(prompts, shared, drawn), limits, static=static_cache, room=room)
    numbers = uniform_numbers(max(limits), len(prompts), generator) if uniform is None else uniform
    numbers = numbers.to(model.device)
    eos = torch.tensor(list(eos_token_ids), dtype=torch.long, device=model.device)
    for step in range(max(limits)):
        tokens, logprobs = draw(rows.logits, temperature, numbers[step, rows.live], top_p)
        if not _take(rows, step, tokens, logprobs, eos, stop) or step + 1 == max(limits):
            break
        rows.advance()
    return Samples.of(rows)


def _limits(prompts: Sequence[Sequence[int]], max_new_tokens: int | Sequence[int]) -> list[int]:
    limits = [max_new_tokens] * len(prompts) if isinstance(max_new_tokens, int) else list(max_new_tokens)
    if not prompts or not all(prompts) or len(limits) != len(prompts) or min(limits) < 1:
        raise ValueError("sampling needs a prompt, a token in each prompt and max_new_tokens of 1 or more for each")
    return limits


def _take(  # noqa: PLR0917 - the parts of one step
    rows: Rows, step: int, tokens: Tensor, logprobs: Tensor, eos: Tensor, stop: Stop | None
) -> bool:
    """Stores a step's tokens and takes out the rows that end or find no room; whether any goes on."""
    rows.store(step, tokens, logprobs)
    ends = torch.isin(tokens, eos)
    if stop is not None:
        ends |= rows.stopped(stop)
    rows.finish(ends, step)
    rows.suspend(step)
    return not rows.over
