"""LiveBench: a file for each task, with the questions of every release up to now."""

from __future__ import annotations

import json
from datetime import datetime

from bai_sweep.evaluation.data._kinds import DATE, FILLED, FILLED_LIST, LIST, MAYBE_DATE, TEXT, texts
from bai_sweep.evaluation.data._types import Column, DataFile, HubRows, Kind, Row, Spec

RELEASE = "2024-11-25"  # the last one whose questions are all public

# Questions of that release by category and task, without agentic coding. The changelog says 1,000 in all from
# 2024-07-26 on. Counted in official question files: tablejoin, tablereformat, paraphrase, simplify, story_generation,
# AMPS_Hard, math_comp, spatial, zebra_puzzle; the others follow from recorded answers and the changelog's total.
TASKS = {
    "coding": {"LCB_generation": 78, "coding_completion": 50},
    "data_analysis": {"cta": 50, "tablejoin": 50, "tablereformat": 50},
    "instruction_following": {"paraphrase": 50, "simplify": 50, "story_generation": 50, "summarize": 50},
    "language": {"connections": 50, "plot_unscrambling": 40, "typos": 50},
    "math": {"AMPS_Hard": 100, "math_comp": 96, "olympiad": 36},
    "reasoning": {"spatial": 50, "web_of_lies_v2": 50, "zebra_puzzle": 50},
}

_COMMON = (
    Column("question_id", FILLED),
    Column("category", FILLED),
    Column("task", FILLED),
    Column("turns", texts(1, 1)),
    Column("livebench_release_date", DATE),
    Column("livebench_removal_date", MAYBE_DATE),
)
_METADATA = Kind(
    "an object with `metadata`", lambda value: isinstance(value, dict) and isinstance(value.get("metadata"), str)
)
_SCORED_BY = {
    "coding": (
        Column("public_test_cases", FILLED),
        Column("private_test_cases", FILLED),
        Column("original_json", _METADATA),
    ),
    "instruction_following": (Column("instruction_id_list", FILLED_LIST), Column("kwargs", LIST)),
}
_GROUND_TRUTH = (Column("ground_truth", TEXT),)


def normalise(row: Row) -> Row:
    """Dates become text, as in the official files; a removal date that is null becomes ""."""
    row = {name: _day(value) if isinstance(value, datetime) else value for name, value in row.items()}
    for name in ("livebench_release_date", "livebench_removal_date"):
        if isinstance(row.get(name), str):
            row[name] = row[name][:10]  # "2024-06-24 00:00:00" in some copies
    if row.get("livebench_removal_date", "") is None:
        row["livebench_removal_date"] = ""
    original = row.get("original_json")
    if isinstance(original, str):
        original = json.loads(original)
    if isinstance(original, dict):
        row["original_json"] = {
            name: value.strftime("%Y-%m-%d %H:%M:%S") if isinstance(value, datetime) else value
            for name, value in original.items()
        }
    return row


def _day(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d")


def in_release(row: Row, release: str = RELEASE) -> bool:
    """Whether a question belongs to a release: out by then and not yet removed (load_questions in common.py)."""
    removed = row["livebench_removal_date"]
    return bool(row["livebench_release_date"] <= release and (not removed or removed > release))


def _file(category: str, task: str, rows: int) -> DataFile:
    def rule(row: Row) -> str | None:
        if (row["category"], row["task"]) != (category, task):
            return (
                f"columns category and task are {category} and {task}, as the folders; got {row['category']} and "
                + (f"{row['task']}")
            )
        released, removed = row["livebench_release_date"], row["livebench_removal_date"]
        if removed and removed < released:
            return f"column livebench_removal_date is not before the release {released}; got {removed}"
        if category == "instruction_following" and len(row["kwargs"]) != len(row["instruction_id_list"]):
            return "column kwargs has one entry for each of instruction_id_list"
        return None

    return DataFile(
        key=f"{category}/{task}",
        stem=f"{category}/{task}/question",
        columns=(*_COMMON, *_SCORED_BY.get(category, _GROUND_TRUTH)),
        sources=(HubRows(f"livebench/{category}", None, "test", where=("task", task)),),
        rows=rows,
        identity="question_id",
        rule=rule,
        counted=in_release,
        group=f"{category}/{task}",
    )


LIVEBENCH = Spec(
    name="livebench",
    title=f"LiveBench {RELEASE}",
    folder="livebench",
    version=RELEASE,
    licence="Apache-2.0",
    files=tuple(_file(category, task, rows) for category, tasks in TASKS.items() for task, rows in tasks.items()),
    normalise=normalise,
)
