"""What a task asks of a response, and what of it is scored: cases worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bai_sweep.evaluation._responses import Decoding, answer_of, decoding_of, fit
from bai_sweep.records import UserError


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        ({}, Decoding((), 100, 0.0)),
        ({"until": "\n\n", "max_gen_toks": 40}, Decoding(("\n\n",), 40, 0.0)),
        ({"until": ["Q:", ""], "max_tokens": 400}, Decoding(("Q:",), 100, 0.0)),
        ({"max_gen_toks": 7, "max_new_tokens": 9}, Decoding((), 7, 0.0)),
        ({"do_sample": False, "temperature": 0.7}, Decoding((), 100, 0.0)),
        ({"temperature": 0.7}, Decoding((), 100, 0.7)),
        ({"do_sample": True, "temperature": 1.0}, Decoding((), 100, 1.0)),
        ({"temperature": 0.6, "top_p": 0.95}, Decoding((), 100, 0.6, 0.95)),
    ],
)
def test_decoding_has_lm_evals_meaning(kwargs: dict[str, Any], expected: Decoding) -> None:
    assert decoding_of(kwargs, longest=100) == expected


def test_an_unknown_setting_is_an_error_and_not_ignored() -> None:
    with pytest.raises(UserError, match="got min_p, num_beams, which would have no effect"):
        decoding_of({"until": [], "num_beams": 4, "min_p": 0.1}, longest=10)


def test_sampling_without_a_temperature_is_an_error() -> None:
    with pytest.raises(UserError, match="needs a temperature above 0"):
        decoding_of({"do_sample": True}, longest=10)


def test_a_nucleus_of_nothing_is_an_error() -> None:
    with pytest.raises(UserError, match=r"top_p is above 0 and at most 1; got 1\.5"):
        decoding_of({"temperature": 1.0, "top_p": 1.5}, longest=10)


def test_prompts_lose_their_beginning_to_make_room() -> None:
    assert fit([[1, 2, 3, 4, 5, 6, 7, 8], [7]], max_new_tokens=3, window=10) == (
        [[2, 3, 4, 5, 6, 7, 8], [7]],
        [3, 3],
        1,
    )


def test_each_response_gets_what_its_own_prompt_leaves() -> None:
    """One long prompt takes nothing from the others' responses."""
    assert fit([[1, 2, 3, 4, 5, 6], [4]], max_new_tokens=10, window=10) == ([[1, 2, 3, 4, 5, 6], [4]], [4, 9], 0)


def test_a_response_keeps_a_third_of_the_window_however_long_the_prompt() -> None:
    prompts, budgets, cut = fit([[0] * 12], max_new_tokens=9, window=10)
    assert (len(prompts[0]), budgets, cut) == (7, [3], 1)


def test_no_room_for_anything_is_an_error() -> None:
    with pytest.raises(UserError, match="a context of 2 tokens holds no prompt and response"):
        fit([[0]], max_new_tokens=10, window=2)


@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=5), budget=st.integers(1, 60), window=st.integers(3, 50)
)
def test_what_fits_stays_within_the_window_and_keeps_the_end(lengths: list[int], budget: int, window: int) -> None:
    prompts = [list(range(n)) for n in lengths]
    fitted, granted, cut = fit(prompts, budget, window)
    for prompt, whole, tokens in zip(fitted, prompts, granted, strict=True):
        assert min(budget, window // 3) <= tokens <= budget
        assert len(prompt) + tokens <= window
        assert prompt == whole[-len(prompt) :]
        assert len(prompt) == len(whole) or len(prompt) + min(budget, window // 3) == window
    assert cut == sum(len(p) < len(q) for p, q in zip(fitted, prompts, strict=True))


DECODING = Decoding(("Q:",), 100, 0.0)


@pytest.mark.parametrize(
    ("response", "prompt", "truncated", "expected"),
    [
        ("<think>12? no, 13.</think>\n the answer is 13", "", False, "the answer is 13"),
        ("a</think>b</think> c", "<think>", False, "c"),  # the last mark counts
        ("<think>Q: is a stop string</think>13Q:14", "", False, "13"),  # a stop string in the thought does not end it
        ("<think>it is 12, or", "", True, ""),  # cut off while thinking
        ("it is 12, or", "<user> x <think>\n", True, ""),  # the template opened the thought
        ("it is 12, or", "<think>old</think> <user>", True, "it is 12, or"),  # an earlier turn's thought is closed
        ("the answer is 13 and", "", True, "the answer is 13 and"),  # never began to think
        ("<think>13", "", False, "<think>13"),  # it ended by itself without closing: kept, to be scored as it is
        (" 13 Q: next", "", False, "13 "),
    ],
)
def test_the_answer_stands_after_the_thought(response: str, prompt: str, truncated: bool, expected: str) -> None:
    assert answer_of(response, DECODING, prompt=prompt, think_end="</think>", truncated=truncated) == expected


def test_a_mark_without_a_known_opening_makes_every_truncated_response_a_thought() -> None:
    assert answer_of("it is 12", DECODING, prompt="", think_end="[/T]", truncated=True) == ""
    assert answer_of("it is 12", DECODING, prompt="", think_end="[/T]", truncated=False) == "it is 12"


def test_without_a_mark_nothing_is_dropped() -> None:
    kept = answer_of(" <think>12</think> 13 Q:", DECODING, prompt="", think_end=None, truncated=True)
    assert kept == " <think>12</think> 13 "
