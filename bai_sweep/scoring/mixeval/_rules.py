"""Reads a response without a judge: the rule-based parser of Psycoy/MixEval, mix_eval/utils/metric_utils.py."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from bai_sweep.scoring._item import Item
from bai_sweep.scoring.mixeval._question import Question, letters

_PUNCTUATION = (",", ".", "!", "?", ";", ":", "'")
_LETTER_FORMS = (
    *(f"{before}{{}}{dot}{after}" for before in " \n" for dot in ("", ".") for after in " \n"),
    *("({})", "**{} ", " {}**", "**{}. ", " {}.**"),
)
_CUES = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")  # an answer follows
_GROUPED = re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b")
_SCIENTIFIC = re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+")
_PLAIN = re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])")


def score_by_rules(question: Question, response: str) -> Item:
    """1 where the rules find a right answer in the response, else 0.

    Where they find no option the official code picks one at random; here the item is wrong and `parsed` is False.

    Args:
        question: The item.
        response: Without its thought.
    """
    detail = {"half": question.half, "benchmark": question.benchmark}
    if question.half == "multiple-choice":
        chosen = choice_in(response, question.options)
        found = {"extracted": chosen, "parsed": chosen is not None}
        return Item(float(chosen == question.targets[0]), detail={**detail, **found})
    parts = answers_in(response)
    right = is_right(_normalised(parts), _normalised(question.targets))
    return Item(float(right), detail={**detail, "extracted": parts, "parsed": True})


def choice_in(response: str, options: Sequence[str]) -> str | None:
    """The letter that stands first in a response as a word of its own, in brackets or bold.

    Where there is none and the response has more than five words: the option whose text stands first in it.
    """
    for character in _PUNCTUATION:  # once each, in this order, as the official parser does
        response = response.strip(character)
    response = f" {response} "
    names = letters(len(options))
    found = [(at, name) for name in names for form in _LETTER_FORMS if (at := response.find(form.format(name))) >= 0]
    if not found and len(response.split()) > 5:
        folded = response.lower()
        pairs = zip(names, options, strict=True)
        found = [(at, name) for name, option in pairs if (at := folded.find(option.lower())) >= 0]
    return min(found)[1] if found else None


def answers_in(response: str) -> list[str]:
    """The parts of a response that may be its answer, and the numbers in them.

    Of each line the shortest text after a word that announces an answer (on the last line also after "="); of a
    response without such words, the whole. The text is in lower case before it is split, so that the official
    split at sentences never takes place.
    """
    response = response.strip().strip(".").lower()
    lines = response.split("\n")
    cues = [_CUES] * (len(lines) - 1) + [(*_CUES, "=")]
    tails = [_shortest_tail(line, of_line) for line, of_line in zip(lines, cues, strict=True)]
    parts = [tail for tail in tails if tail and tail not in _PUNCTUATION] or [response]
    return parts + [
        number for part in parts for kind in (_GROUPED, _SCIENTIFIC, _PLAIN) for number in kind.findall(part)
    ]


def _shortest_tail(line: str, cues: Iterable[str]) -> str:
    """Empty where no cue is in the line. A cue at its very end counts only until another one follows.

    The official parser replaces an empty tail by the next cue's, whatever its length.
    """
    shortest = ""
    for tail in (line.rsplit(cue, maxsplit=1)[-1].strip() for cue in cues if cue in line):
        if not shortest or len(tail) < len(shortest):
            shortest = tail
    return shortest


def _normalised(texts: Iterable[str]) -> set[str | float]:
    """Numbers to two decimals, texts in lower case; a text of one character only next to a space."""
    values: set[str | float] = set()
    for text in map(str.strip, texts):
        try:
            values.add(round(float(text.replace(",", "")), 2))
        except ValueError:
            folded = text.lower()
            values.update([f" {folded}", f"{folded} "] if len(folded) == 1 else [folded])
    return values


def is_right(found: set[str | float], targets: set[str | float]) -> bool:
    """Whether a number equals one that is right, or a text contains one."""
    wanted = [target for target in targets if isinstance(target, str)]
    return any(
        any(target in part for target in wanted) if isinstance(part, str) else part in targets for part in found
    )
