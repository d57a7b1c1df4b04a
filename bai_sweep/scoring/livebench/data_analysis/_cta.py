"""Column type annotation: the class of a table's column (livebench/process_results/data_analysis/cta/utils.py)."""

from __future__ import annotations

import re

from bai_sweep.scoring.livebench._text import UnreadableAnswerError, boxed


def cta(truth: str, answer: str) -> float:
    """1 where the response, or its last box, ends with the class; case, spaces and punctuation do not count.

    Args:
        truth: The class.
        answer: A response.

    Raises:
        UnreadableAnswerError: A box that does not close.
    """
    if r"\boxed{" in answer:
        content = boxed(answer)
        if content is None:
            raise UnreadableAnswerError("a box closes; this one does not")
        answer = content.replace(r"\text{", "").replace("}", "").replace("\\", "")
    return float(_letters(answer).endswith(_letters(truth)))


def _letters(text: str) -> str:
    return re.sub(r"[^\w]", "", text.lower())
