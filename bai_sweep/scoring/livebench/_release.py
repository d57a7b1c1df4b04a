"""Which questions a release has, and how their scores make LiveBench's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any, TypeVar

from bai_sweep.records import UserError
from bai_sweep.scoring.livebench._tasks import TASKS

Q = TypeVar("Q", bound=Mapping[str, Any])


def select(questions: Iterable[Q], release: str) -> list[Q]:
    """The questions of a release: out by then, and not removed by then (livebench/common.py, `load_questions`).

    Args:
        questions: With `livebench_release_date` and `livebench_removal_date`, YYYY-MM-DD; an empty one is none.
        release: The release's date, YYYY-MM-DD.
    """
    return [
        question
        for question in questions
        if str(question["livebench_release_date"]) <= release
        and (not question["livebench_removal_date"] or str(question["livebench_removal_date"]) > release)
    ]


def aggregate(scores_by_task: Mapping[tuple[str, str], Sequence[float]]) -> float:
    """LiveBench's score: the mean over categories of the mean over tasks of the mean over questions.

    Source: livebench/show_livebench_result.py. Over the tasks that are given: the official table leaves out a model
    that lacks one.

    Args:
        scores_by_task: (category, task) -> its items' scores, from 0 to 1.

    Raises:
        UserError: A task that the benchmark does not have, one without items, or no task at all.
    """
    if unknown := sorted(name for name in scores_by_task if name[1] not in TASKS.get(name[0], ())):
        raise UserError(f"LiveBench has no task {'/'.join(unknown[0])}; its tasks are {dict(TASKS)}")
    if empty := sorted(name for name, scores in scores_by_task.items() if not scores):
        raise UserError(f"a task's score is a mean over items; {'/'.join(empty[0])} has none; leave it out")
    if not scores_by_task:
        raise UserError("LiveBench's score is a mean over tasks; got none; score at least one")
    tasks: dict[str, list[float]] = defaultdict(list)
    for (category, _), scores in scores_by_task.items():
        tasks[category].append(fmean(scores))
    return fmean(fmean(means) for means in tasks.values())
