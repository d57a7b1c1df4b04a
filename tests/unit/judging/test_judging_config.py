"""The group conf/judge: every file is valid, every fault is said, no secret is repeated."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from judging_server import judge_config
from pydantic import ValidationError

from bai_sweep.judging import check_judge, open_judge


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("none", {}),
        ("openai", {}),
        ("local", {"model": "testbed://instruct"}),
        ("recorded", {"path": "replies.jsonl"}),
    ],
)
def test_each_file_is_a_judge(kind: str, settings: dict[str, Any]) -> None:
    assert judge_config(kind, **settings).kind == kind


def test_no_judge_is_none(tmp_path: Path) -> None:
    check_judge(judge_config("none"))
    assert open_judge(judge_config("none"), cache_dir=tmp_path / "judge") is None
    assert not (tmp_path / "judge").exists()


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"base_url": "ftp://host/v1"}, r"a base URL is http\(s\)://host"),
        ({"base_url": "host:8000/v1"}, r"a base URL is http\(s\)://host"),
        ({"base_url": "http://[::1/v1"}, "cannot be read"),
        ({"base_url": "http://host:notaport/v1"}, "cannot be read"),
        ({"base_url": "https://user:hidden-word@host/v1"}, "no user, password, query or fragment"),
        ({"base_url": "https://host/v1?key=hidden-word"}, "no user, password, query or fragment"),
        ({"key_env": "sk-hidden-word"}, "names the environment variable that holds the key, not the key"),
        ({"max_cost": 1.0}, "max_cost=1 cannot be kept to without prices"),
        ({"prompt_price": 1.0}, "prompt_price and completion_price are given together"),
        ({"extra_body": {"max_tokens": 5}}, "max_tokens cannot be set here"),
        ({"extra_body": {"stream": True}}, "stream cannot be set here"),
        ({"temperature": "none"}, "temperature"),
        ({"temperature": -1.0}, "temperature"),
        ({"concurrency": 0}, "concurrency"),
        ({"retries": -1}, "retries"),
        ({"length_parameter": "tokens"}, "length_parameter"),
    ],
)
def test_fault_is_said(settings: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValidationError, match=rule) as fault:
        judge_config("openai", **settings)
    assert all("hidden-word" not in error["msg"] for error in fault.value.errors())


def test_url_may_end_with_a_slash() -> None:
    assert judge_config("openai", base_url="http://127.0.0.1:8000/v1/").base_url == "http://127.0.0.1:8000/v1"


def test_importing_the_room_loads_nothing_heavy() -> None:
    heavy = ["torch", "transformers", "openai", "httpx2", "httpx", "tenacity"]
    program = f"import sys; import bai_sweep.judging; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"
