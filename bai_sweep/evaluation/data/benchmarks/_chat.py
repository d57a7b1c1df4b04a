"""MixEval-Hard and ArenaHard: questions that a judge or a rule-based parser scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bai_sweep.evaluation.data._kinds import FILLED, FILLED_LIST, MAYBE_TEXT, TEXT, texts
from bai_sweep.evaluation.data._types import Column, DataFile, RawFile, Row, Spec, Tables

_MIXEVAL_COMMIT = "7c52b41929d461df7733573528bdfb08774b0c53"
_MIXEVAL_BLOBS = {  # git's ids of the official files at that commit
    "2024-06-01": {
        "free-form": "6a2cecd6972f6e6a0df52cc2b4e772c98eec7813",
        "multiple-choice": "9ae02fb75de053950a6b75e435ffa3e04ed96da4",
    },
    "2024-08-11": {
        "free-form": "f2fe517efcb1a6e8c013e405bec8ca088ef0bb06",
        "multiple-choice": "732919ff315c2588e4adcdd37d00656d94b28492",
    },
}


def _free_form_rule(row: Row) -> str | None:
    if row["problem_type"] != "free-form":
        return f"column problem_type is free-form, as the file's name; got {row['problem_type']!r}"
    if not all(isinstance(target, str) and target.strip() for target in row["target"]):
        return "column target is a list of texts that are not empty"
    return None


def _multiple_choice_rule(row: Row) -> str | None:
    if row["problem_type"] != "multiple-choice":
        return f"column problem_type is multiple-choice, as the file's name; got {row['problem_type']!r}"
    count = len(row["options"])
    if not all(type(target) is int and 0 <= target < count for target in row["target"]):
        return f"column target holds indices of the {count} options, counted from 0; got {row['target']}"
    return None


def _mixeval_file(version: str, half: str) -> DataFile:
    is_choice = half == "multiple-choice"
    columns = (
        Column("id", FILLED),
        Column("problem_type", FILLED),
        Column("context", MAYBE_TEXT),
        Column("prompt", FILLED),
        Column("target", FILLED_LIST),
        Column("benchmark_name", FILLED),
    )
    url = (
        f"https://raw.githubusercontent.com/Psycoy/MixEval/{_MIXEVAL_COMMIT}"
        f"/mix_eval/data/mixeval-{version}/mixeval-hard/{half}.json"
    )
    return DataFile(
        key=half,
        stem=half,
        columns=(*columns, Column("options", texts(2, 26))) if is_choice else columns,
        sources=(RawFile(url, _MIXEVAL_COMMIT, _MIXEVAL_BLOBS[version][half], ".json"),),
        rows=500,
        identity="id",
        rule=_multiple_choice_rule if is_choice else _free_form_rule,
        other_blobs={
            blobs[half]: f"MixEval-Hard {other}" for other, blobs in _MIXEVAL_BLOBS.items() if other != version
        },
    )


MIXEVAL = tuple(
    Spec(
        name=f"mixeval_hard_{version}",
        title=f"MixEval-Hard {version}",
        folder=f"mixeval_hard/{version}",
        version=version,
        licence="no licence file in the official repository (setup.py says MIT); items keep that of their source",
        files=(_mixeval_file(version, "free-form"), _mixeval_file(version, "multiple-choice")),
    )
    for version in _MIXEVAL_BLOBS
)

_ARENA_URL = "https://raw.githubusercontent.com/lmarena/arena-hard-auto"
_ARENA_COMMIT = "196f6b826783b3da7310e361a805fa36f0be83f3"
_ANSWER_COLUMNS = (Column("uid", FILLED), Column("model", TEXT), Column("messages", FILLED_LIST))


def _normalise_arena(row: Row) -> Row:
    """v0.1's older names (question_id, turns, choices) become uid, prompt and messages."""
    row = dict(row)
    if "uid" not in row and "question_id" in row:
        row["uid"] = row["question_id"]
    if "prompt" not in row and isinstance(row.get("turns"), list) and row["turns"]:
        row["prompt"] = row["turns"][0]["content"] if isinstance(row["turns"][0], dict) else row["turns"][0]
    if "messages" not in row and isinstance(row.get("choices"), list) and row["choices"]:
        row["messages"] = [{"role": "assistant", "content": turn["content"]} for turn in row["choices"][0]["turns"]]
        row.setdefault("model", row.get("model_id", ""))
    return row


def _answer_rule(row: Row) -> str | None:
    last = row["messages"][-1]
    content: Any = last.get("content") if isinstance(last, dict) else None
    answer = content.get("answer") if isinstance(content, dict) else content
    if not isinstance(answer, str) or last.get("role") != "assistant":
        return 'column messages ends with {"role": "assistant", "content": <text or {"answer": text}>}'
    return None


def _arena_spec(
    version: str, rows: int, baselines: Mapping[str, str], other: Mapping[int, str], blobs: Mapping[str, str | None]
) -> Spec:
    """`baselines`: category -> the model that is compared with (JUDGE_SETTINGS in the official judge_utils.py)."""

    def rule(row: Row) -> str | None:
        if row["category"] not in baselines:
            return f"column category is {' or '.join(baselines)} in v{version}; got {row['category']!r}"
        return None

    def across(tables: Tables) -> dict[str, str]:
        faults: dict[str, str] = {}
        for model in dict.fromkeys(baselines.values()):
            if (key := f"baseline/{model}") in tables and "question" in tables:
                answered = {row["uid"] for row in tables[key]}
                asked = [row["uid"] for row in tables["question"] if baselines[row["category"]] == model]
                if absent := [uid for uid in asked if uid not in answered]:
                    faults[key] = f"the baseline answers every question; {len(absent)} have none, as uid {absent[0]!r}"
        return faults

    def file(key: str, stem: str, columns: tuple[Column, ...], **more: Any) -> DataFile:
        url = f"{_ARENA_URL}/{_ARENA_COMMIT}/data/arena-hard-v{version}/{stem}.jsonl"
        return DataFile(
            key, stem, columns, (RawFile(url, _ARENA_COMMIT, blobs[stem], ".jsonl"),), rows, identity="uid", **more
        )

    topic = Column("cluster" if version == "0.1" else "subcategory", TEXT)
    question_columns = (Column("uid", FILLED), Column("category", FILLED), topic, Column("prompt", FILLED))
    return Spec(
        name=f"arenahard_v{version}",
        title=f"ArenaHard v{version}",
        folder=f"arenahard/v{version}",
        version=f"v{version}",
        licence="Apache-2.0",
        files=(
            file("question", "question", question_columns, rule=rule, other_counts=other),
            *(
                file(f"baseline/{model}", f"model_answer/{model}", _ANSWER_COLUMNS, rule=_answer_rule)
                for model in dict.fromkeys(baselines.values())
            ),
        ),
        normalise=_normalise_arena,
        across=across,
    )


ARENAHARD = (
    _arena_spec(
        "0.1",
        500,
        {"arena-hard-v0.1": "gpt-4-0314"},
        {750: "ArenaHard v2.0"},
        {
            "question": "a0ab23b91e2d66b07e300f111a319ec4fbcbc0d3",
            "model_answer/gpt-4-0314": "13572d720fba05b243bfce713b5a647593c25349",
        },
    ),
    _arena_spec(
        "2.0",
        750,
        {"hard_prompt": "o3-mini-2025-01-31", "creative_writing": "gemini-2.0-flash-001"},
        {500: "ArenaHard v0.1, or v2.0 without creative writing"},
        {
            "question": "d0f2eaa1f57865106498af9b45187618c1b9d404",
            "model_answer/o3-mini-2025-01-31": "8a62dff8a43ac57306dcfd5725d687950c50551b",
            "model_answer/gemini-2.0-flash-001": "75513a4feb8e2f642a9bdb952d1c3ed245b9c952",
        },
    ),
)
