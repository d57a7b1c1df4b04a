"""What several of LiveBench's scorers share: how an answer is found in a text, and the edit distance."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SOLUTION = re.compile(r"<solution>(.*?)</solution>")
_MISTYPED = re.compile(r"</solution>(.*?)</solution>")


class UnreadableAnswerError(ValueError):
    """An answer on which the official scorer fails; the item scores 0, as the official judgment then records."""


def solutions(answer: str, *, mistyped: bool = False) -> list[str]:
    """What stands between solution tags on one line.

    Args:
        answer: A response.
        mistyped: Where there is none, also take a closing tag for an opening one.
    """
    return _SOLUTION.findall(answer) or (_MISTYPED.findall(answer) if mistyped else [])


def boxed(text: str) -> str | None:
    r"""The content of the last LaTeX box, None without one that closes (livebench/process_results/util.py).

    `\boxed x` without braces reaches to the next `$`, and one of these anywhere goes before all `\boxed{x}`; `\fbox`
    counts where there is no `\boxed`.

    Raises:
        UnreadableAnswerError: Something stands between the command and its brace.
    """
    if r"\boxed " in text:
        return text.rpartition(r"\boxed ")[2].partition("$")[0]
    start = text.rfind(r"\boxed" if r"\boxed" in text else r"\fbox")
    end = _closing_brace(text, start) if start >= 0 else None
    if end is None:
        return None
    box = text[start : end + 1].replace("$", "").replace("fbox", "boxed")
    opening = r"\boxed " if r"\boxed " in box else r"\boxed{"
    if not box.startswith(opening):
        raise UnreadableAnswerError(f"a box is a command and a group in braces; got {box!r}")
    return box[len(opening) :] if opening.endswith(" ") else box[len(opening) : -1]


def _closing_brace(text: str, start: int) -> int | None:
    depth = 0
    for position in range(start, len(text)):
        if text[position] == "{":
            depth += 1
        elif text[position] == "}":
            depth -= 1
            if depth == 0:
                return position
    return None


def fbox_as_boxed(answer: str) -> str:
    r"""An answer in which a doubly escaped `\\fbox{` counts as a box."""
    return answer.replace(r"\\fbox{", r"\\boxed{")


def last_line(text: str) -> str:
    """The last line that is not blank, otherwise as it stands; empty for a blank text."""
    return text.strip().split("\n")[-1]


def edit_distance(a: Sequence[object], b: Sequence[object]) -> int:
    """Levenshtein's: the fewest insertions, deletions and replacements that turn `a` into `b`."""
    previous = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        current = [i]
        for j, y in enumerate(b, start=1):
            current.append(min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (x != y)))
        previous = current
    return previous[-1]
