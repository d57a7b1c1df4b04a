"""Connections: words put into groups of four (livebench/process_results/writing/connections/utils.py)."""

from __future__ import annotations

import re

from bai_sweep.scoring.livebench._text import UnreadableAnswerError, boxed, solutions

GROUP = 4


def connections(truth: str, answer: str) -> float:
    """The fraction of the groups that the response has (questions of 2024-11-25 and later).

    Args:
        truth: The words, group after group, separated by commas.
        answer: A response; its words are the last ones in solution tags, or in a box.

    Raises:
        UnreadableAnswerError: A box that the official scorer fails on.
    """
    words = truth.split(",")
    groups = _groups(words)
    found = _solutions(answer)
    if not found:
        return 0.0
    given = [word for solution in found for word in solution.split(",")]
    given = given[-len(words) :] if len(found) > 1 else given
    return sum(group in groups for group in _groups(given)) / len(groups)


def connections_before_2024_11_25(truth: str, answer: str) -> float:
    """The largest fraction of the groups that any phrase in bold has."""
    groups = _groups(truth.split(","))
    phrases = re.findall(r"\*\*(.*?)\*\*", answer.replace("\n", ""))
    return max((_fraction(groups, _groups(phrase.split(","))) for phrase in phrases), default=0.0)


def _solutions(answer: str) -> list[str]:
    joined = answer.replace("\n", "")
    found = (
        solutions(answer) or solutions(joined) or solutions(answer, mistyped=True) or solutions(joined, mistyped=True)
    )
    if found or r"\boxed" not in answer:
        return found
    content = boxed(answer)
    if content is None:
        raise UnreadableAnswerError("a box closes; this one does not")
    return [content.replace(r"\text{", "").replace("}", "").replace("\\", "").replace("\n", "")]


def _groups(words: list[str]) -> list[set[str]]:
    """Each holds four different words: one that comes twice does not count twice."""
    groups: list[set[str]] = [set()]
    for word in words:
        if len(groups[-1]) == GROUP:
            groups.append(set())
        groups[-1].add(word.strip().lower())
    return groups


def _fraction(groups: list[set[str]], given: list[set[str]]) -> float:
    return sum(any(group <= candidate for candidate in given) for group in groups) / len(groups)
