"""What goes to vLLM and comes back, as our records: seeds, and completions with their log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import requests
import torch
from jaxtyping import Float
from torch import Tensor

from bai_sweep.generation import Samples

SEED_BITS = 53


class WrongAnswerError(Exception):
    """vLLM answered, with something that cannot be used."""


def row_seeds(uniform: Float[Tensor, "tokens rows"]) -> list[int]:
    """One seed a row from its first uniform number: all of the number's bits, as an integer below 2^53."""
    seeds: list[int] = (uniform[0].double() * 2**SEED_BITS).long().tolist()
    return seeds


def samples_of(
    prompts: Sequence[list[int]],
    prompt_ids: Sequence[Sequence[int]],
    completions: Sequence[Sequence[int]],
    logprobs: Sequence[Sequence[Sequence[float | None]] | None] | None,
    logprob_ids: Sequence[Sequence[Sequence[int]] | None] | None,
    *,
    max_new_tokens: int,
    eos_token_ids: Sequence[int],
) -> Samples:
    """What TRL's `VLLMGeneration.generate` returns, checked.

    Args:
        prompts: What was sent.
        prompt_ids: The prompts that vLLM says it continued.
        completions: New tokens, with the EOS that ended them.
        logprobs: For each token, those of the sampled token and perhaps of more probable ones.
        logprob_ids: Which tokens they are of.
        max_new_tokens: Longest completion allowed.
        eos_token_ids: A row whose last token is one of these has ended.

    Raises:
        WrongAnswerError: These are other prompts, no tokens or too many, or a log-probability is absent.
    """
    if [list(prompt) for prompt in prompt_ids] != list(prompts) or len(completions) != len(prompts):
        raise WrongAnswerError("completions of other prompts than were sent")
    if not all(0 < len(row) <= max_new_tokens for row in completions):
        raise WrongAnswerError(
            f"completions of {sorted(map(len, completions))} tokens, max_new_tokens {max_new_tokens}"
        )
    lengths = torch.tensor([len(row) for row in completions])
    tokens = torch.zeros(len(completions), int(lengths.max()), dtype=torch.long)
    drawn = torch.zeros(tokens.shape)
    absent: list[None] = [None] * len(completions)
    for i, (row, values, ids) in enumerate(zip(completions, logprobs or absent, logprob_ids or absent, strict=True)):
        tokens[i, : len(row)] = torch.tensor(row)
        drawn[i, : len(row)] = torch.tensor(_of_tokens(row, values, ids))
    last = tokens.gather(1, lengths[:, None] - 1)[:, 0]
    ended = torch.isin(last, torch.tensor(list(eos_token_ids), dtype=torch.long))
    return Samples(tokens, drawn, lengths, ended)


def _of_tokens(
    tokens: Sequence[int], logprobs: Sequence[Sequence[float | None]] | None, ids: Sequence[Sequence[int]] | None
) -> list[float]:
    """The log-probability of each token."""
    if logprobs is None or ids is None:
        raise WrongAnswerError("no log-probabilities")
    if not len(tokens) == len(logprobs) == len(ids):
        raise WrongAnswerError(f"{len(logprobs)} log-probabilities for {len(tokens)} tokens")
    found = [dict(zip(i, p, strict=True)).get(token) for token, p, i in zip(tokens, logprobs, ids, strict=True)]
    values = [value for value in found if value is not None]
    if len(values) != len(tokens):
        raise WrongAnswerError("a token without its log-probability, or with NaN for it")
    return values


def reason(error: Exception) -> str:
    """Why a request failed, in a line."""
    if isinstance(error, requests.exceptions.JSONDecodeError):
        return f"the answer is not JSON ({error})"
    if isinstance(error, requests.ConnectionError):
        return f"the server is gone, or refuses connections ({_innermost(error)})"
    if isinstance(error, requests.RequestException):
        return f"the request could not be made ({error})"
    if isinstance(error, LookupError | TypeError | AttributeError | ValueError):
        return f"the answer does not have vLLM's form ({type(error).__name__}: {error})"
    return str(error)[:1000]


def _innermost(error: BaseException) -> str:
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return f"{type(error).__name__}: {error}"
