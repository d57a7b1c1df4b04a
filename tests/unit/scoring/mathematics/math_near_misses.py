r"""Makes near misses of a reference answer: what a careless or a guessing model writes instead.

Each kind changes the value by construction, for the answers it applies to; `value_of` checks that without the code
under test, where both can be computed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

_INTEGER = re.compile(r"(?<![\d.])\d+(?![\d.,])")
_PLAIN_FRACTION = re.compile(r"^(-?)\\[dt]?frac\{(\d+)\}\{(\d+)\}$")
_GROUP = re.compile(r"^(\\left)?([(\[])(.*?)(\\right)?([)\]])$", re.DOTALL)
_OTHER = {"(": "[", "[": "(", ")": "]", "]": ")"}


def near_misses(answer: str) -> Iterator[tuple[str, str]]:
    """(kind, near miss) pairs; none is equivalent to the answer."""
    if answer.startswith((r"\text", r"\mbox")):
        yield "another word", r"\text{zebra}"
        yield "another letter", r"\text{(Q)}"
        return
    yield from _other_digits(answer)
    yield from _other_sign(answer)
    yield from _other_group(answer)
    yield from _other_list(answer)
    if (match := _PLAIN_FRACTION.match(answer)) and match[2] != match[3]:
        yield "inverted", rf"{match[1]}\frac{{{match[3]}}}{{{match[2]}}}"
    if "sqrt" in answer:
        yield "without the root", re.sub(r"\\sqrt", "", answer)
    if "pi" in answer:
        yield "without pi", answer.replace(r"\pi", "" if re.search(r"\d\s*\\pi", answer) else "1")
    if re.search(r"_\{?\d+\}?$", answer):
        yield "without its base", re.sub(r"_\{?\d+\}?$", "", answer)
    if value_of(answer):
        yield "ten times as much", f"{answer}0" if answer.isdecimal() else f"10 \\cdot ({answer})"
    yield "two answers", f"{answer} \\text{{ or }} 987654"
    yield "nothing", ""


def _other_digits(answer: str) -> Iterator[tuple[str, str]]:
    in_unit = answer.find(r"\mbox") if r"\mbox" in answer else len(answer)  # cm^3 for cm^2 is right officially
    for match in list(_INTEGER.finditer(answer, 0, in_unit))[:3]:
        digits = match[0]
        yield "off by one", answer[: match.start()] + str(int(digits) + 1) + answer[match.end() :]
        if len(digits) > 2 and digits[-1] != digits[-2]:
            swapped = digits[:-2] + digits[-1] + digits[-2]
            yield "digits swapped", answer[: match.start()] + swapped + answer[match.end() :]


def _other_sign(answer: str) -> Iterator[tuple[str, str]]:
    value = value_of(answer)
    if value:
        yield "other sign", answer[1:] if answer.startswith("-") else f"-{answer}"
    if re.search(r"\d\s*[+-]\s*[\da-z\\]", answer) and r"\pm" not in answer and "{" not in answer:
        yield (
            "other operation",
            re.sub(r"(?<=\d)(\s*)([+-])", lambda m: m[1] + "-+"["-+".index(m[2]) - 1], answer, count=1),
        )


def _other_group(answer: str) -> Iterator[tuple[str, str]]:
    match = _GROUP.match(answer)
    parts = match[3].split(",") if match else []
    if match is None or len(parts) < 2 or r"\cup" in answer:
        return
    left, right = match[2], match[5]
    if len(parts) == 2:
        yield "other bracket", f"{_OTHER[left]}{match[3]}{right}"
        yield "other bracket", f"{left}{match[3]}{_OTHER[right]}"
    yield "swapped", f"{left}{','.join(reversed(parts))}{right}"
    yield "missing", f"{left}{','.join(parts[:-1])}{right}"
    yield "too many", f"{left}{match[3]}, 77{right}"


def _other_list(answer: str) -> Iterator[tuple[str, str]]:
    if re.fullmatch(r"-?\d+(?:,\s?-?\d+)+", answer) and not re.fullmatch(r"\d{1,3}(,\d{3})+", answer):
        yield "missing", answer.rpartition(",")[0]
        yield "too many", f"{answer}, 77"
    if r"\cup" in answer:
        yield "missing", answer.partition(r"\cup")[0]
    if "matrix" in answer:
        yield "missing", re.sub(r"\\\\[^\\]*(?=\\end)", "", answer)
        yield "another shape", answer.replace(r"\\", "&")


def value_of(latex: str) -> float | None:
    """The number that simple LaTeX stands for, by plain arithmetic; None for anything else."""
    text = re.sub(r"\\(?:text|mbox)\{[^}]*\}(?:\^2)?|\^\\circ|\\[!$%,]|\s", "", latex.replace(r"\cdot", "*"))
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text).replace("tfrac", "frac").replace("dfrac", "frac")
    text = re.sub(r"\\frac(\d)(\d)$", r"\\frac{\1}{\2}", text)
    text = re.sub(r"(?<=[\d)])(?=\\)", "+" if re.match(r"^\d+\\frac\{\d+\}\{\d+\}$", text) else "*", text)
    for _ in range(4):
        text = re.sub(r"\\sqrt\{([^{}]*)\}", r"((\1)**0.5)", text)
        text = re.sub(r"\\frac\{([^{}]*)\}\{([^{}]*)\}", r"((\1)/(\2))", text)
    text = text.replace(r"\pi", f"({math.pi!r})")
    if re.fullmatch(r"[\d.()*/+-]+", text) is None:
        return None
    try:
        value = eval(text, {"__builtins__": {}})  # digits and operators of the files that the tests read
    except (SyntaxError, TypeError, ZeroDivisionError):
        return None
    return value if isinstance(value, int | float) else None
