"""How many tokens an answer has: GPT-4o's where tiktoken can be loaded, else an approximation of them."""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

log = logging.getLogger(__name__)

_PIECE = re.compile(r" ?[^\W\d_]+|\d{1,3}| ?[^\s\w]+|_+|\s+")
_LETTERS, _SIGNS, _BYTES = 10, 4, 5  # of a word, of punctuation, of what is not ASCII: in one token at the most


@dataclass(frozen=True)
class Counter:
    """Counts tokens; its name stands beside what it counted."""

    name: str
    count: Callable[[str], int]


@cache
def token_counter() -> Counter:
    """tiktoken's `o200k_base`, as official; the approximation where it is not installed or cannot fetch its file."""
    try:
        encoding = importlib.import_module("tiktoken").encoding_for_model("gpt-4o")
    except (ImportError, OSError, KeyError) as error:
        log.info("ArenaHard: tiktoken cannot be used (%s); the lengths for style control are approximate", error)
        return Counter("approximate", approximate_tokens)
    return Counter("o200k_base", lambda text: len(encoding.encode(text, disallowed_special=())))


def approximate_tokens(text: str) -> int:
    """Words, numbers, signs and gaps, the long ones counted several times.

    Measured on the 750 recorded answers of o3-mini-2025-01-31: 3 % more in all than their recorded `token_len`, median
    error 7 %, correlation 0.977. Style control uses `(a - b) / (a + b)`, in which a common factor cancels.
    """
    return sum(map(_tokens_of, _PIECE.findall(text)))


def _tokens_of(piece: str) -> int:
    word = piece.strip()
    if not word:
        return 1
    if not word.isascii():
        return -(-len(word.encode(errors="replace")) // _BYTES)
    return -(-len(word) // (_LETTERS if word.isalpha() else _SIGNS))
