"""What a task asks of a response and what of the response is the answer; pure functions, tested without a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bai_sweep.records import UserError

_LENGTH_NAMES = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")  # lm-eval's, by priority
_KNOWN = {"until", "do_sample", "temperature", "top_p", *_LENGTH_NAMES}


@dataclass(frozen=True)
class Decoding:
    """How a task wants its responses generated; temperature 0 is greedy."""

    until: tuple[str, ...]
    max_new_tokens: int
    temperature: float
    top_p: float = 1.0


def decoding_of(kwargs: Mapping[str, Any], longest: int) -> Decoding:
    """Reads a task's `generation_kwargs`, with lm-eval's meaning of each.

    Args:
        kwargs: the task's.
        longest: response length in tokens where the task sets none, and the most that any task gets.

    Raises:
        UserError: a setting that would not be honoured (HFLM ignores or passes on what it does not know), or
            sampling without a temperature.
    """
    if unknown := sorted(set(kwargs) - _KNOWN):
        raise UserError(
            f"generation_kwargs may hold {', '.join(sorted(_KNOWN))}; got {', '.join(unknown)}, which would have no "
            "effect; take it out of the task's YAML"
        )
    until = kwargs.get("until") or []
    lengths = [int(kwargs[name]) for name in _LENGTH_NAMES if kwargs.get(name) is not None]
    temperature = float(kwargs.get("temperature") or 0.0)
    do_sample = kwargs.get("do_sample")
    if do_sample and temperature <= 0.0:
        raise UserError("do_sample: true needs a temperature above 0; set one in the task's generation_kwargs")
    top_p = float(kwargs.get("top_p") or 1.0)
    if not 0.0 < top_p <= 1.0:
        raise UserError(f"top_p is above 0 and at most 1; got {top_p:g}; set it in the task's generation_kwargs")
    return Decoding(
        until=tuple(stop for stop in ([until] if isinstance(until, str) else until) if stop),
        max_new_tokens=min(lengths[0], longest) if lengths else longest,
        temperature=0.0 if do_sample is False else temperature,
        top_p=top_p,
    )


def fit(prompts: Sequence[list[int]], max_new_tokens: int, window: int) -> tuple[list[list[int]], list[int], int]:
    """Makes prompts and responses fit the model's context window.

    Each response gets what its own prompt leaves of the window, at most `max_new_tokens`. A prompt loses its beginning
    only where it leaves less than that and less than a third of the window: for short answers that is what HFLM does.
    For a budget near the window HFLM would leave next to nothing of the prompts, and one as long it refuses.

    Args:
        prompts: token ids.
        max_new_tokens: asked for.
        window: the model's, in tokens.

    Returns:
        The prompts, the response length of each, and how many prompts were cut.

    Raises:
        UserError: the window is too small for anything.
    """
    if window < 3:
        raise UserError(f"a context of {window} tokens holds no prompt and response; evaluate another model")
    room = window - min(max_new_tokens, window // 3)
    fitted = [prompt[-room:] for prompt in prompts]
    budgets = [min(max_new_tokens, window - len(prompt)) for prompt in fitted]
    return fitted, budgets, sum(len(prompt) > room for prompt in prompts)


def answer_of(response: str, decoding: Decoding, *, prompt: str, think_end: str | None, truncated: bool) -> str:
    """The part of a response that is scored: after the thought, before the first stop string.

    With `think_end`, what stands before its last occurrence is dropped. Where it does not occur because the token
    limit cut the thought off, the answer is EMPTY and the item scores what an empty answer scores: a number met
    half-way through a thought is not an answer. (HFLM keeps the whole unfinished thought and lets it score.) A
    response that never began to think is kept whole. Thinking has begun when the opening mark of `</mark>` stands
    unclosed in prompt or response; for a `think_end` of another form every truncated response counts as thinking.

    Args:
        response: decoded, without the prompt.
        decoding: gives the stop strings.
        prompt: decoded; a chat template may end with the opening mark.
        think_end: text that ends a thought; None: responses hold none.
        truncated: whether the token limit ended the response.
    """
    if think_end is not None:
        _, closed, after = response.rpartition(think_end)
        if not closed and truncated and _is_thinking(prompt + response, think_end):
            return ""
        response = after.lstrip()  # rpartition: the whole response where the mark is absent
    for stop in decoding.until:
        response = response.split(stop, maxsplit=1)[0]
    return response


def opening_of(think_end: str) -> str | None:
    """`<think>` for `</think>`; None for an end mark of another form."""
    return f"<{think_end[2:]}" if think_end.startswith("</") else None


def _is_thinking(text: str, think_end: str) -> bool:
    opening = opening_of(think_end)
    return opening is None or text.rfind(opening) > text.rfind(think_end)
