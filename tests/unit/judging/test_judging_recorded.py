"""A recording: written by hand or by another judge, checked line by line, and never silent about what it lacks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from judging_server import judge_config

from bai_sweep.judging import Judge, JudgeError, Spending, check_judge, open_judge
from bai_sweep.records import UserError

QUESTION = [{"role": "user", "content": "A or B? " + "x" * 100}]


def line(text: str, **more: Any) -> str:
    return json.dumps({"messages": QUESTION, "text": text, **more})


def recording(folder: Path, *lines: str, **settings: Any) -> Judge:
    path = folder / "replies.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    config = judge_config("recorded", path=str(path), **settings)
    check_judge(config)
    judge = open_judge(config, cache_dir=folder)
    assert judge is not None
    return judge


def test_replies_are_found_by_messages_and_attempt(tmp_path: Path) -> None:
    judge = recording(tmp_path, line("[[A]]"), "", line("[[B]]", attempt=1, model="m", prompt_tokens=4, extra=1))
    first, second = judge.ask(QUESTION, temperature=0.3), judge.ask(QUESTION, max_tokens=9, attempt=1)
    assert (first.text, first.cached, first.model, first.prompt_tokens) == ("[[A]]", True, "recorded", 0)
    assert (second.text, second.model, second.prompt_tokens) == ("[[B]]", "m", 4)
    assert judge.spent() == Spending(cached=2)


def test_last_of_several_replies_counts(tmp_path: Path) -> None:
    assert recording(tmp_path, line("[[A]]"), line("[[B]]")).ask(QUESTION).text == "[[B]]"


def test_unknown_request_is_named(tmp_path: Path) -> None:
    judge = recording(tmp_path, line("[[A]]"))
    with pytest.raises(
        JudgeError,
        match=r"replies\.jsonl has no reply to request [0-9a-f]{12} \(attempt 3, its last .* begins 'A or B\? x+'\)",
    ):
        judge.ask(QUESTION, attempt=3)
    assert judge.spent().failed == 1


def test_recording_of_another_run_is_given_up(tmp_path: Path) -> None:
    judge = recording(tmp_path, line("[[A]]"), give_up_after=2)
    for attempt in (1, 2):
        with pytest.raises(JudgeError, match="has no reply"):
            judge.ask(QUESTION, attempt=attempt)
    with pytest.raises(UserError, match=r"give_up_after=2 .*has no reply"):
        judge.ask(QUESTION)


def test_recording_in_part_can_be_wanted(tmp_path: Path) -> None:
    judge = recording(tmp_path, line("[[A]]"), give_up_after=None)
    for attempt in range(1, 30):
        with pytest.raises(JudgeError, match="has no reply"):
            judge.ask(QUESTION, attempt=attempt)
    assert judge.ask(QUESTION).text == "[[A]]"


def test_models_are_not_mixed(tmp_path: Path) -> None:
    lines = [line("[[A]]", model="one"), line("[[B]]", model="two")]
    with pytest.raises(UserError, match=r"has replies of one, two; name one as judge\.model"):
        recording(tmp_path, *lines)
    assert recording(tmp_path, *lines, model="one").ask(QUESTION).text == "[[A]]"
    with pytest.raises(UserError, match="has no reply of three; it has those of one, two"):
        recording(tmp_path, *lines, model="three")


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (line("[[A]]")[:-5], "Invalid JSON"),
        ('{"text": "x"}', "neither 'messages' nor the 'request'"),
        (json.dumps({"messages": QUESTION}), "Field required"),
        ("[]", "object"),
        (line("x", attempt="first"), "integer"),
    ],
)
def test_bad_line_is_named(tmp_path: Path, bad: str, why: str) -> None:
    with pytest.raises(UserError, match=rf"line 2 of .*replies\.jsonl is none \(.*{why}"):
        recording(tmp_path, line("[[A]]"), bad)


def test_empty_file_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no reply; name a file"):
        recording(tmp_path, "")


def test_absent_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.jsonl cannot be read \(No such file or directory\)"):
        check_judge(judge_config("recorded", path=str(tmp_path / "absent.jsonl")))
