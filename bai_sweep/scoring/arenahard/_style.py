"""An answer's style: its length and how much Markdown it has."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bai_sweep.scoring.arenahard._tokens import Counter

_CODE = re.compile("```([^`]*)```")
_HEADERS = (re.compile(r"^#{1,6}\s", re.MULTILINE),)
_LISTS = (re.compile(r"^\s*\d+\.\s", re.MULTILINE), re.compile(r"^\s*[-*+]\s", re.MULTILINE))
_BOLDS = (re.compile(r"\*\*[^*\n]+\*\*"), re.compile(r"__[^_\n]+__"))


@dataclass(frozen=True)
class Style:
    """Tokens, and counts of headers, list items and bold phrases."""

    tokens: int
    headers: int
    lists: int
    bolds: int


def style_of(answer: str, counter: Counter) -> Style:
    """Counts as the official utils/add_markdown_info.py: Markdown outside code, tokens of everything.

    What stands in a code block is taken out wherever it occurs, so that a block of one word takes that word out of the
    prose as well: official.
    """
    prose = answer
    for block in _CODE.findall(answer):
        prose = prose.replace(block, "")
    counts = [sum(len(form.findall(prose)) for form in forms) for forms in (_HEADERS, _LISTS, _BOLDS)]
    return Style(counter.count(answer), *counts)
