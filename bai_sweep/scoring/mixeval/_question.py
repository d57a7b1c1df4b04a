"""An item of MixEval-Hard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bai_sweep.records import UserError

Half = Literal["free-form", "multiple-choice"]


@dataclass(frozen=True)
class Question:
    """What is asked, and what is right.

    Args:
        id: The half and the official id in it, `free-form/35`: the official ids of the halves overlap.
        half: Its file.
        benchmark: The one it was drawn from.
        context: Text that stands before it; empty for none.
        prompt: The question alone.
        options: Of a multiple-choice question.
        targets: Free-form: each of them is right. Multiple choice: the letter that is right, alone.
    """

    id: str
    half: Half
    benchmark: str
    context: str
    prompt: str
    options: tuple[str, ...]
    targets: tuple[str, ...]


def question_of(row: Mapping[str, Any]) -> Question:
    """A row of the official files, with its key as `id`.

    Raises:
        UserError: A multiple-choice row without exactly one right option, which has no official score.
    """
    options, targets = tuple(row.get("options") or ()), tuple(row["target"])
    if is_choice := row["problem_type"] == "multiple-choice":
        if len(targets) != 1 or not 0 <= targets[0] < len(options):
            raise UserError(
                "a multiple-choice item of MixEval-Hard has one target, the index of an option; item "
                f"{row['id']} has {list(targets)} for {len(options)} options; fetch the official file again"
            )
        targets = (letters(len(options))[targets[0]],)
    half: Half = "multiple-choice" if is_choice else "free-form"
    context = str(row.get("context"))
    return Question(
        id=f"{half}/{row['id']}",
        half=half,
        benchmark=row["benchmark_name"],
        context="" if context.lower() in {"none", "null"} or not context.replace(" ", "") else context,
        prompt=row["prompt"],
        options=options,
        targets=targets,
    )


def letters(count: int) -> str:
    """The options' letters, A first."""
    return "".join(chr(ord("A") + number) for number in range(count))


def lettered(options: tuple[str, ...]) -> str:
    """A line `A. ...` for each option."""
    return "\n".join(f"{letter}. {option}" for letter, option in zip(letters(len(options)), options, strict=True))
