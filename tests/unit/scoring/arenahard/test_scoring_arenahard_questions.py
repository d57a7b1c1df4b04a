"""The documents of a category."""

from typing import Any

import pytest

from bai_sweep.records import UserError
from bai_sweep.scoring.arenahard import V01, V2, documents


def answer(uid: str, content: Any) -> dict[str, Any]:
    return {"uid": uid, "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": content}]}


def test_v2s_category_is_compared_with_its_own_baseline() -> None:
    files = {
        "question": [
            {"uid": "1", "category": "creative_writing", "subcategory": "creative_writing", "prompt": "Rhyme."},
            {"uid": "2", "category": "hard_prompt", "subcategory": "math", "prompt": "Prove."},
        ],
        "baseline/o3-mini-2025-01-31": [answer("1", {"answer": "o1"}), answer("2", {"answer": "o2"})],
        "baseline/gemini-2.0-flash-001": [answer("1", "g1")],
    }
    assert documents(files, V2, "hard_prompt") == [
        {"id": "2", "category": "hard_prompt", "prompt": "Prove.", "baseline": "o2", "stratum": "math"}
    ]
    assert [doc["baseline"] for doc in documents(files, V2, "creative_writing")] == ["g1"]


def test_faults_are_named() -> None:
    question = {"uid": "7", "category": "arena-hard-v0.1", "cluster": "c", "prompt": "Why?"}
    with pytest.raises(UserError, match="an answer of gpt-4-0314 to every question; 1 of 1 have none, as uid '7'"):
        documents({"question": [question]}, V01, "arena-hard-v0.1")
    with pytest.raises(UserError, match=r"questions of category arena-hard-v0\.1"):
        documents({"question": [], "baseline/gpt-4-0314": [answer("7", "x")]}, V01, "arena-hard-v0.1")
