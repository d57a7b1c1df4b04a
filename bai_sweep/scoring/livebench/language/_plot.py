"""Plot unscrambling: a summary's sentences put in order.

The rules are livebench/process_results/writing/plot_unscrambling/utils.py's.
"""

from __future__ import annotations

import difflib
import re

from bai_sweep.scoring.livebench._text import edit_distance

_SUMMARY = (
    re.compile(r"<PLOT_SUMMARY>(.*)</PLOT_SUMMARY>", re.DOTALL),
    re.compile(r"<PLOT_SUMMARY>(.*)", re.DOTALL),
)
_ENDS = ("", "</PLOT_SUMMARY>", "**End of Plot Summary**")


def plot_unscrambling(truth: str, answer: str) -> float:
    """1 - d / n for n sentences, with the edit distance d between their order in the response and the right one.

    Every sentence of the reference is looked up in the response by the most similar one (difflib's ratio).

    Args:
        truth: The summary in order.
        answer: A response.
    """
    expected = [sentence for part in truth.split(".") if (sentence := part.strip())]
    given = [sentence for part in _summary(answer).split(".") if (sentence := part.strip()) not in _ENDS]
    similar = (difflib.get_close_matches(sentence, given, n=1, cutoff=0.0) for sentence in expected)
    order = [given.index(match[0]) for match in similar if match]
    return 1.0 - edit_distance(range(len(expected)), order) / len(expected)


def _summary(answer: str) -> str:
    found = next((match for pattern in _SUMMARY if (match := pattern.search(answer))), None)
    return found.group(1) if found else answer
