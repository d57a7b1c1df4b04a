"""Which option a response names. The rules are those of SuperGPQA/SuperGPQA, eval/eval.py.

The official expressions nest repetitions that match the same characters, so that a run of `*` or `$` costs time
exponential in its length; the official code gives up after five seconds. The expressions here accept the same texts,
each run read once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_MACRO = r"\\(?:boxed|mathbf|mathrm|text)\{"
_DRESS = r"[*${(\[\\]"  # what may stand before the option: bold, dollar, brackets, backslash
_NOT_WORD = r"[^\w\r\n]*"
_CLOSED = r"[\\}$)\]]*(?:[\s:.*)]|$)"

# A letter is no dress, so no run has to be given back (`+` after a quantifier). A macro's backslash is dress too: the
# look-behind finds it again.
_REST_OF_MACROS = rf"(?:(?<=\\)(?:boxed|mathbf|mathrm|text)\{{{_DRESS}*+)*+\s*+"
_LETTER = rf"([A-J]){_CLOSED}"
_LABELS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"the\s++(?:\w++\s++)?(?:answer|option)(?:\w++\s)?\s++is?:?\s*+{_DRESS}*+{_REST_OF_MACROS}{_LETTER}",
        rf"answer[*\s]*+:\s*+{_DRESS}*+{_REST_OF_MACROS}{_LETTER}",
        rf"^{_NOT_WORD}+{_REST_OF_MACROS}{_LETTER}",
    )
)


def extract(response: str, options: Sequence[str]) -> str | None:
    """The option that a response names: by its letter, else by its whole text.

    Three rules, all on the last line and then all on the whole text: "the ... answer (option) is X", then "Answer: X",
    then a text that begins with X; X may be boxed, bold or in brackets. Letters are found whatever their case and
    returned as written: a lowercase one is an answer and never a right one. A text that begins with "I" or "A" as a
    word is an answer as well.

    Args:
        response: Without its thought.
        options: The texts of the options, in order.

    Returns:
        A letter, of A to J even where there are fewer options; None where no rule finds an option.
    """
    text = response.rstrip()
    last_line = text.rsplit("\n", maxsplit=1)[-1]
    if (letter := _first(_LABELS, last_line, text)) is not None:
        return letter
    content = _first(_contents(options), last_line, text)
    return chr(ord("A") + options.index(content)) if content else None


def _first(patterns: Sequence[re.Pattern[str]], *texts: str) -> str | None:
    for text in texts:
        for pattern in patterns:
            if match := pattern.search(text):
                return match[1]
    return None


def _contents(options: Sequence[str]) -> tuple[re.Pattern[str], ...]:
    """As for letters, but case counts, and an option may itself begin with dress: macros first, then the least dress.

    That order decides which of two options is found where one ends with the other ("-3" and "3").
    """
    dressed = rf"\s*(?:{_MACRO})*(?:{_DRESS}(?:{_MACRO})*)*?\s*"
    option = rf"({'|'.join(map(re.escape, options))}){_CLOSED}"
    return (
        re.compile(rf"[Tt]he\s++(?:\w++\s++)?(?:answer|option)(?:\w++\s)?\s++is:?{dressed}{option}"),
        re.compile(rf"(?i:answer){dressed}{option}"),
        re.compile(rf"^{_NOT_WORD}(?:(?:{_MACRO})+(?:{_DRESS}(?:{_MACRO})*)*?)?\s*{option}"),
    )
