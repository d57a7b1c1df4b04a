"""Nothing is asked twice: across restarts, torn lines, threads and processes."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from judging_server import Got, Sent, Server, fault, judge_config, openai_config, said, serving

from bai_sweep.judging import Judge, JudgeError, open_judge
from bai_sweep.judging._cache import ReplyCache
from bai_sweep.judging._request import Answer, Request, digest_of
from bai_sweep.records import UserError

QUESTION = [{"role": "user", "content": "A or B?"}]
PLAIN = Request(({"role": "user", "content": "A or B?"},), 0.0, 100, 0)
ROOT = Path(__file__).resolve().parents[3]


def opened(server: Server, folder: Path, **settings: Any) -> Judge:
    judge = open_judge(openai_config(server, **settings), cache_dir=folder)
    assert judge is not None
    return judge


def test_reply_outlives_the_process_that_paid_for_it(tmp_path: Path) -> None:
    with serving(said("first"), said("second")) as server:
        first = opened(server, tmp_path).ask(QUESTION)
        again = opened(server, tmp_path)
        second = again.ask(QUESTION)
        assert len(server.got) == 1
    assert second == dataclasses.replace(first, cached=True)
    spent = again.spent()
    assert (spent.requests, spent.cached, spent.prompt_tokens, spent.cost) == (0, 1, 0, 0.0)


@pytest.mark.parametrize(
    ("settings", "request_settings"),
    [
        ({"model": "other"}, {}),
        ({"extra_body": {"seed": 1}}, {}),
        ({"think_end": "</think>"}, {}),
        ({"temperature": 1.0}, {}),
        ({"max_tokens": 5}, {}),
        ({}, {"attempt": 1}),
        ({}, {"temperature": 0.1}),
        ({}, {"max_tokens": 5}),
        ({}, {"messages": [*QUESTION, {"role": "assistant", "content": "A"}]}),
        ({}, {"messages": [{"role": "system", "content": "A or B?"}]}),
    ],
)
def test_every_part_of_a_request_is_in_its_key(
    tmp_path: Path, settings: dict[str, Any], request_settings: dict[str, Any]
) -> None:
    with serving(said("first"), said("second")) as server:
        opened(server, tmp_path).ask(QUESTION)
        reply = opened(server, tmp_path, **settings).ask(**{"messages": QUESTION, **request_settings})
    assert (reply.text, reply.cached) == ("second", False)


def test_what_does_not_shape_an_answer_is_not_in_the_key(tmp_path: Path) -> None:
    with serving(said("first")) as server:
        opened(server, tmp_path).ask(QUESTION)
        other = opened(
            server,
            tmp_path,
            timeout=1.0,
            retries=1,
            concurrency=1,
            max_tokens_total=10,
            prompt_price=1.0,
            completion_price=1.0,
        )
        assert other.ask([{"content": "A or B?", "role": "user"}]).cached


def test_failure_is_not_kept(tmp_path: Path) -> None:
    with serving(fault(400), said("ok")) as server:
        judge = opened(server, tmp_path)
        with pytest.raises(JudgeError, match="HTTP 400"):
            judge.ask(QUESTION)
        assert judge.ask(QUESTION).text == "ok"


def test_the_same_request_at_once_is_asked_once(tmp_path: Path) -> None:
    everyone = threading.Barrier(8, timeout=30.0)
    going = threading.Event()

    def script(_: int, __: Got) -> Sent:
        going.wait(30.0)
        return said("ok")

    with serving(script=script) as server:
        judge = opened(server, tmp_path)

        def ask(number: int) -> bool:
            everyone.wait()
            threading.Timer(0.1, going.set).start() if number == 0 else None
            return judge.ask(QUESTION).cached

        with ThreadPoolExecutor(8) as pool:
            assert sorted(pool.map(ask, range(8))) == [False] + [True] * 7
        assert len(server.got) == 1


def test_whoever_waits_for_the_same_hears_of_its_failure(tmp_path: Path) -> None:
    going = threading.Event()

    def script(_: int, __: Got) -> Sent:
        going.wait(30.0)
        return fault(400)

    with serving(script=script) as server:
        judge = opened(server, tmp_path)
        with ThreadPoolExecutor(2) as pool:
            both = [pool.submit(judge.ask, QUESTION) for _ in range(2)]
            threading.Timer(0.1, going.set).start()
            for future in both:
                with pytest.raises(JudgeError, match="HTTP 400"):
                    future.result(30.0)


@pytest.mark.parametrize("cut", [1, 20, -2, -1])
def test_torn_last_line_costs_one_reply(tmp_path: Path, cut: int, caplog: pytest.LogCaptureFixture) -> None:
    """A crash in the middle of the second line: the first is known, the second asked again, and then all are known."""
    with serving(said("first"), said("second"), said("third")) as server:
        judge = opened(server, tmp_path)
        judge.ask(QUESTION, attempt=0)
        judge.ask(QUESTION, attempt=1)
        path = tmp_path / "openai.jsonl"
        one, two = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(one + two[:cut])
        resumed = opened(server, tmp_path)
        assert resumed.ask(QUESTION, attempt=0).cached
        assert resumed.ask(QUESTION, attempt=1).text == "third"
        last = opened(server, tmp_path)
        assert [last.ask(QUESTION, attempt=k).text for k in (0, 1)] == ["first", "third"]
        assert len(server.got) == 3
    if cut != -1:
        assert "1 of its lines are no replies" in caplog.text


def test_reply_of_another_process_is_seen(tmp_path: Path) -> None:
    with serving(said("ok")) as server:
        one, other = opened(server, tmp_path), opened(server, tmp_path)
        one.ask(QUESTION)
        assert other.ask(QUESTION).cached
        assert len(server.got) == 1


def test_emptied_file_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "judge.jsonl"
    cache, other = ReplyCache(path), ReplyCache(path)
    cache.keep("a", PLAIN, "m", Answer("long " * 100, 1, 1, "m"))
    assert other.find("a") is not None
    path.write_bytes(b"")
    ReplyCache(path).keep("b", PLAIN, "m", Answer("b", 1, 1, "m"))
    assert other.find("b") == Answer("b", 1, 1, "m")


WRITER = """
import sys
from pathlib import Path
from bai_sweep.judging._cache import ReplyCache
from bai_sweep.judging._request import Answer, Request
name, count = sys.argv[2], int(sys.argv[3])
cache = ReplyCache(Path(sys.argv[1]))
for k in range(count):
    request = Request(({"role": "user", "content": f"{name} {k}"},), 0.0, 10, 0)
    cache.keep(f"{name} {k}", request, "m", Answer(f"{name} {k} " + "x" * (k * 37 % 9000), k, 1, "m"))
"""


def test_two_processes_write_one_file(tmp_path: Path) -> None:
    path, count = tmp_path / "judge.jsonl", 150
    path.write_bytes(b'{"key": "torn')
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), name, str(count)], cwd=ROOT) for name in ("a", "b")
    ]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    lines = path.read_bytes().splitlines()
    assert len(lines) == 1 + 2 * count
    assert all(json.loads(line)["max_tokens"] == 10 for line in lines[1:])
    cache = ReplyCache(path)
    for name in ("a", "b"):
        for k in range(count):
            answer = cache.find(f"{name} {k}")
            assert answer is not None
            assert answer.text == f"{name} {k} " + "x" * (k * 37 % 9000)


def test_threads_write_one_file(tmp_path: Path) -> None:
    cache = ReplyCache(tmp_path / "judge.jsonl")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda k: cache.keep(str(k), PLAIN, "m", Answer(str(k), k, k, "m")), range(100)))
    again = ReplyCache(tmp_path / "judge.jsonl")
    assert [again.find(str(k)) for k in range(100)] == [Answer(str(k), k, k, "m") for k in range(100)]


def test_line_says_how_its_reply_was_asked_for(tmp_path: Path) -> None:
    with serving(said("[[A]]\né", prompt=7, completion=2)) as server:
        opened(server, tmp_path).ask(QUESTION, temperature=0.0, max_tokens=50, attempt=2)
    path = tmp_path / "openai.jsonl"
    assert path.stat().st_mode & 0o777 == 0o600
    line = json.loads(path.read_text(encoding="utf-8"))
    assert len(line.pop("key")) == 64
    assert line == {
        "request": digest_of(QUESTION, 2),
        "attempt": 2,
        "model": "gpt-4.1",
        "temperature": 0.0,
        "max_tokens": 50,
        "text": "[[A]]\né",
        "prompt_tokens": 7,
        "completion_tokens": 2,
        "answered_by": "judge-2024",
    }


def test_keys_stay_what_they_are() -> None:
    """Kept replies would be lost, and paid for again, if this changed by accident."""
    assert PLAIN.digest == "c0b57929c0fbf9a6ed3d83778f70b9d353be15db17d227987c73aaec7e3852eb"
    assert (
        PLAIN.key({"kind": "openai", "model": "m"})
        == "0960eb530e0c4531728225b2ff7ca0363e2b228032a2a35a8ec334d2feaf9ee7"
    )


def test_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"a judge's replies are kept in .*file/judge/openai\.jsonl.*cache_dir"):
        open_judge(openai_config(), cache_dir=tmp_path / "file" / "judge")


def test_full_disk_loses_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(said("ok")) as server:
        judge = opened(server, tmp_path)

        def full(*_: Any) -> int:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            assert judge.ask(QUESTION).text == "ok"
    assert "could not be kept" in caplog.text
    assert judge.ask(QUESTION).cached


def test_cache_is_a_recording(tmp_path: Path) -> None:
    with serving(said("first"), said("second")) as server:
        paid = opened(server, tmp_path)
        replies = [paid.ask(QUESTION, attempt=k) for k in (0, 1)]
    recorded = judge_config("recorded", path=str(tmp_path / "openai.jsonl"))
    judge = open_judge(recorded, cache_dir=tmp_path / "unused")
    assert judge is not None
    assert [judge.ask(QUESTION, attempt=k) for k in (0, 1)] == [dataclasses.replace(r, cached=True) for r in replies]
    assert judge.spent().cached == 2
    assert not (tmp_path / "unused").exists()
