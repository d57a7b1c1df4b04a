"""Web of lies: who of three people tells the truth (livebench/process_results/reasoning/web_of_lies_v2/utils.py)."""

from __future__ import annotations

import itertools
import re

from bai_sweep.scoring.livebench._text import boxed, fbox_as_boxed, solutions

_VERDICTS = ("yes", "no", "unknown")


def web_of_lies(truth: str, answer: str) -> float:
    """1 where the three verdicts given are the reference's.

    They are those in the last solution tags, the last three in bold, those in the last box, or the last of the 27
    possible triples whose first mention comes last in the text.

    Args:
        truth: Such as "yes, no, yes".
        answer: A response.

    Raises:
        UnreadableAnswerError: A box that the official scorer fails on.
    """
    given = _given(answer)
    wanted = truth.lower()
    return float(given == wanted or (sum(map(given.count, _VERDICTS)) == 3 and wanted in given))


def _given(answer: str) -> str:
    found = solutions(answer, mistyped=True)
    given = found[-1] if found else _in_bold(answer)
    if given is not None and given.strip():
        return given
    answer = fbox_as_boxed(answer.replace(r"\\boxed{\\textbf{", r"\\boxed{")).replace(r"\textbf{", r"\boxed{")
    content = boxed(answer)
    if content is not None:
        return content
    return _in_text(answer.lower()) if given is None else given


def _in_bold(answer: str) -> str | None:
    words = [
        word.lower().replace(",", "").replace(".", "")
        for phrase in re.findall(r"\*\*(.*?)\*\*", answer)
        for word in phrase.split()
    ]
    return ", ".join([word for word in words if word in _VERDICTS][-3:]) or None


def _in_text(text: str) -> str:
    triples = [", ".join(triple) for triple in itertools.product(_VERDICTS, repeat=3)]
    last = max(triples, key=text.find)  # the first of those that are absent, or else the one found last
    return last if last in text else ""
