"""The judge's prompts are the official ones to the character."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bai_sweep.scoring.arenahard import judge_messages

# SHA-256 of the strings in utils/judge_utils.py at commit 196f6b8
SYSTEM = "03f68010febd7a6405102ef882b4dd5a9700c56b2e1ff286d3b38f5d3a929bbf"
SYSTEM_CREATIVE = "171489efbca7f19fb520e1b3c23783c76af7c723e770fe897a55f391684aa358"


@pytest.mark.parametrize(
    ("category", "digest"),
    [("arena-hard-v0.1", SYSTEM), ("hard_prompt", SYSTEM), ("creative_writing", SYSTEM_CREATIVE)],
)
def test_the_system_prompt_is_the_official_one(category: str, digest: str) -> None:
    system, _ = judge_messages(category, "Q", "a", "b")
    assert system["role"] == "system"
    assert hashlib.sha256(system["content"].encode()).hexdigest() == digest


def test_the_user_prompt_takes_braces_as_they_are() -> None:
    _, user = judge_messages("hard_prompt", "What is {x}?", "{ANSWER_B}", "two\n")
    assert user == {
        "role": "user",
        "content": "<|User Prompt|>\nWhat is {x}?\n\n<|The Start of Assistant A's Answer|>\n{ANSWER_B}\n"
        "<|The End of Assistant A's Answer|>\n\n<|The Start of Assistant B's Answer|>\ntwo\n\n"
        "<|The End of Assistant B's Answer|>",
    }


def test_the_user_prompt_is_the_recorded_one(shared_data: Callable[[str], Path]) -> None:
    questions = {row["uid"]: row["prompt"] for row in _rows(shared_data("arenahard/arena-hard-v0.1/question.jsonl"))}
    files = sorted(shared_data("arenahard/small_judgments_gpt4-1106").glob("*.jsonl"))
    games = [(row["question_id"], game) for path in files for row in _rows(path) for game in row.get("games", ())]
    assert len(games) == 80
    for uid, game in games:
        _, _, rest = game["user_prompt"].partition("<|The Start of Assistant A's Answer|>\n")
        first, _, last = rest.partition(
            "\n<|The End of Assistant A's Answer|>\n\n<|The Start of Assistant B's Answer|>\n"
        )
        second = last.removesuffix("\n<|The End of Assistant B's Answer|>")
        _, user = judge_messages("arena-hard-v0.1", questions[uid], first, second)
        assert user["content"] == game["user_prompt"]


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
