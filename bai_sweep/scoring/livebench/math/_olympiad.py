r"""IMO and USAMO proofs with their formulas taken out: the response puts the formulas' numbers in order.

The rules are livebench/process_results/math/olympiad/utils.py's.
"""

from __future__ import annotations

from bai_sweep.scoring.livebench._text import UnreadableAnswerError, boxed, edit_distance, last_line

_MARK = "answer:"
Numbers = list[int | None]  # None: something that is no integer


def olympiad(truth: str, answer: str) -> float:
    """1 - d / max(lengths) with the edit distance d between the response's list of numbers and the reference's.

    Args:
        truth: Integers separated by commas.
        answer: A response.

    Raises:
        UnreadableAnswerError: Nothing in it is a list of integers.
    """
    expected = [int(number) for number in truth.split(",")]
    found = numbers(answer)
    return 1.0 - edit_distance(found, expected) / max(len(found), len(expected))


def numbers(answer: str) -> Numbers:
    """The list of numbers that a response ends with: after `Answer:`, in a box, in the last line, or anywhere."""
    for read in (_after_mark, _in_box, _in_last_line):
        found = read(answer)
        if any(number is not None for number in found):
            return found
    return _leading(answer)


def _after_mark(answer: str) -> Numbers:
    lines = answer.lower().strip().split("\n")
    marked = [index for index, line in enumerate(lines) if _MARK in line]
    if not marked:
        return []
    text = _plain(lines[marked[-1]].split(_MARK)[1])
    if not text and marked[-1] + 1 < len(lines):
        text = _plain(lines[marked[-1] + 1])
    return [_integer(_without_latex(part.strip().split(" ")[-1])) for part in text.split(",")]


def _in_box(answer: str) -> Numbers:
    if r"\boxed" not in answer:
        return []
    content = boxed(answer)
    text = answer if content is None else content
    text = text.replace(r"\text{", "").replace("}", "").replace("\\", "")
    return [_integer(part) for part in text.strip().split(",")]


def _in_last_line(answer: str) -> Numbers:
    digits = [_first_digits(part) for part in last_line(answer).lower().split(",")]
    return [_integer(part) for part in digits if part]


def _leading(answer: str) -> Numbers:
    """What follows the last mark, up to the first number after the first one that has other text beside it."""
    found: Numbers = []
    for index, part in enumerate(answer.lower().split(_MARK)[-1].split(",")):
        text = part.strip()
        digits = _first_digits(text)
        if digits and digits != "₂":
            number = _integer(digits)
            if number is None:
                raise UnreadableAnswerError(f"a list of integers was asked for; got {digits!r}")
            found.append(number)
        if index > 0 and digits != text:
            break
    return found


def _plain(text: str) -> str:
    return text.replace(_MARK, "").replace("**", "").replace(".", "").strip()


def _without_latex(text: str) -> str:
    for mark in ("$", "{", "}", "\\", "boxed", "<", ">"):
        text = text.replace(mark, "")
    return text


def _first_digits(text: str) -> str:
    start = next((index for index, character in enumerate(text) if character.isdigit()), len(text))
    end = next((index for index in range(start, len(text)) if not text[index].isdigit()), len(text))
    return text[start:end]


def _integer(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None
