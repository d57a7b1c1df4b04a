"""Batched sampling: left-padded prompts, one KV cache, finished rows dropped as they end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from bai_sweep.generation._cache import FixedLayer, GrowingLayer, additive_mask, keep_rows, make_cache

DROP_SHARE = 0.1
"""Finished rows leave the batch once they are this share of it: each departure copies the cache once."""

Stop = Callable[[Sequence[int]], bool]


@dataclass(frozen=True)
class Samples:
    """What `sample` drew, one row a prompt, padded on the right with 0.

    Args:
        tokens: Shape (rows, longest), the new tokens with the EOS that ended them.
        logprobs: Shape (rows, longest), fp32, nats: each token's under the distribution it was drawn from (at the
            sampling temperature; at temperature 0, the model's own).
        lengths: Shape (rows,), new tokens of each row, at least 1.
        ended: Shape (rows,), whether EOS or a stop ended the row (rather than the token limit).
    """

    tokens: Int[Tensor, "rows longest"]
    logprobs: Float[Tensor, "rows longest"]
    lengths: Int[Tensor, " rows"]
    ended: Bool[Tensor, " rows"]

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
    max_new_tokens: int,
    temperature: float,
    eos_token_ids: Sequence[int],
    generator: torch.Generator | None = None,
    uniform: Float[Tensor, "tokens rows"] | None = None,
    stop: Stop | None = None,
    static_cache: bool = False,
) -> Samples:
    """Continues every prompt until EOS, `stop` or `max_new_tokens`.

    Every row draws from uniform numbers of its own, made before the first token: what a row becomes does not depend
    on which other rows are in the batch or when they end (up to rounding).

    Args:
        model: Any causal language model; its mode and device are left as they are.
        prompts: Token ids, none of them empty.
        max_new_tokens: At least 1.
        temperature: Logits are divided by it; 0 takes the most probable token.
        eos_token_ids: Tokens that end a row.
        generator: A CPU generator; the same state gives the same samples.
        uniform: The uniform numbers themselves, as `uniform_numbers` draws them (processes that share a batch each
            take their columns of it); drawn from `generator` if not given.
        stop: Called with a row's new tokens after each one; True ends the row.
        static_cache: Gives every decoding step the same shapes: attention reads the whole cache at each token, and
            finished rows leave only when the batch can be halved. For a model compiled beforehand
            (`model.compile(mode="reduce-overhead", dynamic=False)`); slower otherwise.

    Returns:
        The new tokens and their log-probabilities.

    Raises:
        ValueError: There is no prompt, an empty prompt, or no token to sample; or the model cannot have a static
            cache.
    """
    if not prompts or not all(prompts) or max_new_tokens < 1:
        raise ValueError("sampling needs a prompt, a token in each prompt and max_new_tokens of 1 or more")
    rows = _Rows(model, prompts, max_new_tokens, static_cache)
    if uniform is None:
        uniform = uniform_numbers(max_new_tokens, len(prompts), generator)
    uniform = uniform.to(model.device)
    eos = torch.tensor(list(eos_token_ids), dtype=torch.long, device=model.device)
    for step in range(max_new_tokens):
        tokens, logprobs = _draw(rows.logits, temperature, uniform[step, rows.live])
        rows.store(step, tokens, logprobs)
        ends = torch.isin(tokens, eos)
        if stop is not None:
            ends |= rows.stopped(stop, step)
        if ends.any():
            rows.finish(ends, step)
        if rows.over or step + 1 == max_new_tokens:
            break
        rows.advance()
    return rows.samples()


def uniform_numbers(max_new_tokens: int, rows: int, generator: torch.Generator | None) -> Float[Tensor, "tokens rows"]:
    """What `sample` draws tokens with: one number in [0, 1) for every token and row, fp64."""
    return torch.rand(max_new_tokens, rows, generator=generator, dtype=torch.float64)


def _draw(
    logits: Float[Tensor, "rows vocab"], temperature: float, uniform: Float[Tensor, " rows"]
) -> tuple[Int[Tensor, " rows"], Float[Tensor, " rows"]]:
    """One token a row by inverting the cumulative distribution, summed in fp64, with its log-probability."""
    if temperature not in (0.0, 1.0):
        logits = logits / temperature
    logprobs = torch.log_softmax(logits, dim=-1)
    if temperature == 0.0:
        best = logprobs.max(dim=-1)
        return best.indices, best.values
    cumulative = logprobs.exp().cumsum(dim=-1, dtype=torch.float64)
    threshold = (uniform * cumulative[:, -1])[:, None]
    tokens = torch.searchsorted(cumulative, threshold, right=True).clamp_(max=logits.shape[-1] - 1)
    return tokens[:, 0], logprobs.gather(1, tokens)[:, 0]


class _Rows:
    """The batch while it is decoded; `live` maps its rows to those of the caller."""

    def __init__(
        self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], max_new_tokens: int, static: bool
    ) -> None:
        if static and not _reads_additive_masks(model):
            raise ValueError("a static cache needs sdpa or eager attention without ALiBi; leave static_cache out")
        self.model, self.static, device = model, static, model.device
        rows, longest = len(prompts), max(map(len, prompts))
        self.cache = make_cache(model, longest + max_new_tokens, static=static)
        self.live = torch.arange(rows, device=device)
        self.done = torch.zeros(rows, dtype=torch.bool, device=device)  # of the live rows
        self.tokens = torch.zeros(rows, max_new_tokens, dtype=torch.long, device=device)
        self.logprobs = torch.zeros(rows, max_new_tokens, device=device)
        self.lengths = torch.full((rows,), max_new_tokens, device=device)
        self.ended = torch.zeros(rows, dtype=torch.bool, device=device)
        self.over = False  # whether every row is done
        self.places = torch.tensor([[len(prompt)] for prompt in prompts], device=device)  # of the newest tokens
        self.real = torch.arange(longest + max_new_tokens, device=device) >= longest - self.places
        self.filled = longest
        self.logits = self._prefill(prompts)
        self.mask = self._decoding_mask()

    def store(self, step: int, tokens: Int[Tensor, " rows"], logprobs: Float[Tensor, " rows"]) -> None:
        """Keeps one new token of every live row."""
        self.newest = tokens
        self.tokens[self.live, step] = tokens
        self.logprobs[self.live, step] = logprobs

    def stopped(self, stop: Stop, step: int) -> Bool[Tensor, " rows"]:
        """What `stop` says of the live rows."""
        texts: list[list[int]] = self.tokens[self.live, : step + 1].tolist()
        said = [not done and stop(text) for done, text in zip(self.done.tolist(), texts, strict=True)]
        return torch.tensor(said, device=self.live.device)

    def finish(self, ends: Bool[Tensor, " rows"], step: int) -> None:
        """Ends rows after their token number `step`; drops the finished once there are enough of them."""
        rows = self.live[ends & ~self.done]
        self.lengths[rows] = step + 1
        self.ended[rows] = True
        self.done |= ends
        left = len(self.live) - int(self.done.sum())
        self.over = left == 0
        half = (len(self.live) + 1) // 2
        if self.over:
            return
        if self.static and left <= half < len(self.live):
            self._keep(self.done.argsort(stable=True)[:half])  # the first of the finished fill it up
        elif not self.static and left <= (1 - DROP_SHARE) * len(self.live):
            self._keep((~self.done).nonzero()[:, 0])

    def _keep(self, kept: Int[Tensor, " kept"]) -> None:
        keep_rows(self.cache, kept)
        self.live, self.done, self.newest = self.live[kept], self.done[kept], self.newest[kept]
        self.places, self.real = self.places[kept], self.real[kept]
        self.mask = None if self.mask is None else self.mask[kept]

    def advance(self) -> None:
        """Feeds the newest token of every live row."""
        self.filled += 1
        self.logits = self._forward(self.newest[:, None], self.places, self._mask_now())
        self.places = self.places + 1

    def _mask_now(self) -> Tensor:
        """What the next token attends to."""
        if self.mask is None:
            return self.real[:, : self.filled]
        if not self.static:
            return self.mask[..., : self.filled]
        self.mask[..., self.filled - 1] = 0.0
        return self.mask

    def samples(self) -> Samples:
        """What was stored, with everything past each row's end set to 0."""
        longest = int(self.lengths.max())
        drawn = torch.arange(longest, device=self.lengths.device) < self.lengths[:, None]
        return Samples(self.tokens[:, :longest] * drawn, self.logprobs[:, :longest] * drawn, self.lengths, self.ended)

    def _prefill(self, prompts: Sequence[Sequence[int]]) -> Float[Tensor, "rows vocab"]:
        ids = torch.tensor([[0] * (self.filled - len(p)) + list(p) for p in prompts], device=self.live.device)
        places = (torch.arange(self.filled, device=ids.device) - self.filled + self.places).clamp_(min=0)
        return self._forward(ids, places, self.real[:, : self.filled])

    def _decoding_mask(self) -> Tensor | None:
        """The additive mask of all steps, so that transformers need not make one at each; None where it must."""
        layer = self.cache.layers[0]
        keys = layer.keys if isinstance(layer, GrowingLayer | FixedLayer) else None
        if keys is None or not _reads_additive_masks(self.model):
            return None
        seen = self.real
        if self.static:  # the rest of the buffer is empty
            seen = seen & (torch.arange(seen.shape[1], device=seen.device) < self.filled)
        return additive_mask(seen, keys.dtype)  # under autocast this is not the model's dtype

    def _forward(self, ids: Tensor, places: Tensor, mask: Tensor) -> Float[Tensor, "rows vocab"]:
        logits: Tensor = self.model(
            input_ids=ids,
            position_ids=places,
            attention_mask=mask,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        return logits[:, -1].float()


def _reads_additive_masks(model: PreTrainedModel) -> bool:
    """Not those that make ALiBi's biases from a mask of shape (rows, positions), which are Bloom and Falcon."""
    config = model.config
    alibi = config.model_type == "bloom" or getattr(config, "alibi", False)
    return config._attn_implementation in ("sdpa", "eager") and not alibi
