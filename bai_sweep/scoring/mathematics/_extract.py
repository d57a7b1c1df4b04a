r"""Which part of a response is its final answer.

In this order, the first rule that applies decides:

1. The last box (`\boxed`, `\fbox`, `\framebox`), as the official MATH scorer reads it (hendrycks/math,
   modeling/dataset/util.py). A last box that is empty or never closed means that there is no answer: the response was
   cut off while giving it, and what stands before is not what it settled on.
2. "final answer is X" or "final answer: X", the last time it is said: the form of the Minerva prompt (Lewkowycz et al.
   2022, appendix D), with any number of words less strict about the sentence around it.
3. "answer is X" or "answer: X", the last time it is said.

Nothing else is searched: the last number or the last formula of a text that names no answer is a guess.
"""

from __future__ import annotations

import re

_BOX = re.compile(r"\\(?:boxed|fbox|framebox)(?![A-Za-z])\s*")
_BRACE_OR_ESCAPE = re.compile(r"\\.|[{}]", re.DOTALL)
_UNBRACED_END = re.compile(r"\$|\\\)|\\\]|\n")

_SAYS = r"(?:\s+(?:is|are|will\s+be|must\s+be)\b(?:\s+(?:therefore|thus|then|simply))?|\s*+[*_]*+\s*+:)"
_PHRASES = tuple(
    re.compile(rf"{phrase}{_SAYS}[\s:*_]*+(?=\S)", re.IGNORECASE) for phrase in (r"\bfinal\s+answers?", r"\banswers?")
)
_SENTENCE_END = re.compile(r"(?<!\\)[.!?](?=\s|$)|\n")
_LONGEST = 2000  # characters of a sentence; formulas are searched for in time quadratic in them
_FORMULA = re.compile(
    r"(?<!\\)\$\$(.+?)(?<!\\)\$\$|(?<!\\)\$(.+?)(?<!\\)\$|(?<!\\)\\\((.+?)\\\)|(?<!\\)\\\[(.+?)\\\]", re.DOTALL
)


def extract_boxed(text: str) -> str | None:
    r"""What the last box of a text holds, without its braces.

    `\boxed 5` and `\boxed \frac12` without braces reach to the end of the formula or line, as in the official scorer.

    Returns:
        None where there is no box, or the last one is empty or never closed.
    """
    boxes = list(_BOX.finditer(text))
    if not boxes:
        return None
    start = boxes[-1].end()
    if text[start : start + 1] != "{":
        end = _UNBRACED_END.search(text, start)
        return text[start : end.start() if end else len(text)].strip() or None
    depth = 0
    for token in _BRACE_OR_ESCAPE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(token[0], 0)
        if depth == 0:
            return text[start + 1 : token.start()].strip() or None
    return None


def extract_answer(text: str) -> str | None:
    """The final answer of a response, by the rules above; None where it gives none.

    Args:
        text: The response without its thought.
    """
    if _BOX.search(text):
        return extract_boxed(text)
    for phrase in _PHRASES:
        if said := list(phrase.finditer(text)):
            start = said[-1].end()
            return _sentence(text[start : start + _LONGEST])
    return None


def _sentence(rest: str) -> str | None:
    """The formula that a sentence holds; all of the sentence where it holds none, or several."""
    opening = _FORMULA.match(rest)
    end = _SENTENCE_END.search(rest, opening.end() if opening else 0)
    sentence = rest[: end.start() if end else len(rest)]
    formulas = list(_FORMULA.finditer(sentence))
    if len(formulas) == 1:
        return next(part for part in formulas[0].groups() if part is not None).strip() or None
    return sentence.strip().strip("*_").strip() or None
