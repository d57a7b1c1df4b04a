"""An endpoint over real HTTP: what is sent, what comes back, what each failure means, and where the key is not."""

from __future__ import annotations

import gc
import logging
import threading
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from judging_server import KEY, Got, Sent, Server, Time, endpoint, fault, openai_config, said, serving

from bai_sweep.judging import Judge, JudgeError, check_judge, open_judge
from bai_sweep.judging._budget import Ledger, Terms
from bai_sweep.records import UserError

MESSAGES = [{"role": "system", "content": "Be fair."}, {"role": "user", "content": "A or B?"}]


def opened(server: Server, folder: Path, **settings: Any) -> Judge:
    judge = open_judge(openai_config(server, **settings), cache_dir=folder)
    assert judge is not None
    return judge


def asked(server: Server, time: Time | None = None, ledger: Ledger | None = None, **settings: Any) -> str:
    backend = endpoint(openai_config(server, **settings), time or Time(), ledger)
    return backend.answer(backend.request(MESSAGES, 0.0, 100, 0)).text


def test_reply_has_the_text_the_tokens_and_the_model(tmp_path: Path) -> None:
    with serving(said("[[A]]", prompt=12, completion=3)) as server:
        judge = opened(server, tmp_path, prompt_price=2.0, completion_price=8.0)
        reply = judge.ask(MESSAGES, temperature=0.25, max_tokens=77)
        assert (reply.text, reply.prompt_tokens, reply.completion_tokens) == ("[[A]]", 12, 3)
        assert (reply.cached, reply.model, judge.name) == (False, "judge-2024", "openai")
        (got,) = server.got
        assert (got.method, got.path) == ("POST", "/v1/chat/completions")
        assert got.body == {"model": "gpt-4.1", "messages": MESSAGES, "temperature": 0.25, "max_tokens": 77}
        spent = judge.spent()
        assert (spent.requests, spent.cached, spent.failed) == (1, 0, 0)
        assert spent.cost == pytest.approx((12 * 2 + 3 * 8) / 1e6, rel=1e-12)


def test_settings_take_the_place_of_the_protocol(tmp_path: Path) -> None:
    with serving(said("ok")) as server:
        opened(
            server,
            tmp_path,
            temperature="omit",
            max_tokens=9000,
            length_parameter="max_completion_tokens",
            extra_body={"reasoning_effort": "low"},
        ).ask(MESSAGES, temperature=0.7, max_tokens=10)
        body = server.got[0].body
        assert body == {
            "model": "gpt-4.1",
            "messages": MESSAGES,
            "max_completion_tokens": 9000,
            "reasoning_effort": "low",
        }


def test_configured_temperature_is_sent(tmp_path: Path) -> None:
    with serving(said("ok")) as server:
        opened(server, tmp_path, temperature=0.5).ask(MESSAGES, temperature=0.0)
        assert server.got[0].body["temperature"] == 0.5


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (said("<think>perhaps [[A]]</think>\n[[B]]"), "[[B]]"),
        (said("<think>perhaps [[A]]", finish="length"), ""),
        (said("<think>perhaps [[A]]", finish="stop"), ""),
        (said("it is [[A]]", finish="stop"), "it is [[A]]"),
    ],
)
def test_only_what_follows_a_thought_is_the_answer(answer: Sent, text: str) -> None:
    with serving(answer) as server:
        assert asked(server, think_end="</think>") == text


def test_absent_content_is_an_empty_answer() -> None:
    body = said("").body
    body["choices"][0]["message"]["content"] = None
    with serving(Sent(body=body)) as server:
        assert asked(server) == ""


def test_half_a_surrogate_pair_can_be_asked() -> None:
    with serving(said("ok")) as server:
        backend = endpoint(openai_config(server), Time())
        backend.answer(backend.request([{"role": "user", "content": "a\ud83d b"}], 0.0, 10, 0))
        assert server.got[0].body["messages"][0]["content"] == "a? b"


def test_busy_server_is_asked_again_after_the_time_it_wants() -> None:
    time = Time()
    with serving(fault(429, headers={"Retry-After": "7"}), said("ok")) as server:
        assert asked(server, time, backoff=0.5) == "ok"
        assert len(server.got) == 2
    assert 7.0 <= sum(time.slept) <= 7.5


def test_others_leave_a_busy_server_alone_too() -> None:
    time = Time()
    with serving(fault(429, headers={"retry-after-ms": "20000"}), said("ok")) as server:
        backend = endpoint(openai_config(server, retries=0), time)
        with pytest.raises(JudgeError, match="HTTP 429"):
            backend.answer(backend.request(MESSAGES, 0.0, 10, 0))
        backend.answer(backend.request(MESSAGES, 0.0, 10, 1))
    assert time.slept == [pytest.approx(20.0)]


def test_server_that_wants_too_long_a_wait_has_failed() -> None:
    time = Time()
    with serving(fault(503, headers={"Retry-After": "3600"})) as server, pytest.raises(JudgeError, match="HTTP 503"):
        asked(server, time)
    assert len(server.got) == 1
    assert time.slept == []


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_passing_faults_are_retried_with_growing_waits(status: int) -> None:
    time = Time()
    with serving(fault(status), fault(status), fault(status), said("ok")) as server:
        assert asked(server, time, backoff=1.0) == "ok"
        assert len(server.got) == 4
    assert len(time.slept) == 3
    for k, slept in enumerate(time.slept):
        assert 0.5 * 2**k <= slept <= 2**k


def test_retries_end() -> None:
    with (
        serving(fault(500, "broken")) as server,
        pytest.raises(JudgeError, match=r"after 3 attempts.*HTTP 500: 'broken'"),
    ):
        asked(server, retries=2)
    assert len(server.got) == 3


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        (400, JudgeError, "refuses the request"),
        (422, JudgeError, "refuses the request"),
        (401, UserError, "a request without a key"),
        (403, UserError, "a request without a key"),
        (404, UserError, "knows no model 'gpt-4.1'"),
    ],
)
def test_lasting_faults_are_not_retried(status: int, kind: type[Exception], text: str) -> None:
    time = Time()
    with serving(fault(status, "so it is")) as server:
        with pytest.raises(kind, match=rf"the judge at {server.url} .*{text}.*HTTP {status}: 'so it is'"):
            asked(server, time)
        assert len(server.got) == 1
    assert time.slept == []


def test_account_without_credit_ends_the_asking() -> None:
    with serving(fault(429, "quota", code="insufficient_quota")) as server:
        with pytest.raises(UserError, match="no credit left"):
            asked(server)
        assert len(server.got) == 1


@pytest.mark.parametrize(
    "answer",
    [
        Sent(body=b"{not json"),
        Sent(body=b"<html>busy</html>"),
        Sent(body={"error": {"message": "overloaded"}}),
        Sent(body={"choices": []}),
        Sent(body=b""),
        Sent(body=said("ok").body, cut=True),
    ],
)
def test_answer_that_is_none_is_asked_for_again(answer: Sent) -> None:
    with serving(answer, said("ok")) as server:
        assert asked(server) == "ok"
        assert len(server.got) == 2


def test_answer_that_is_never_one_is_shown() -> None:
    with serving(Sent(body=b"<html>busy</html>")) as server, pytest.raises(JudgeError, match="<html>busy</html>"):
        asked(server, retries=1)


def test_hanging_server_is_asked_again() -> None:
    with serving(Sent(body=b"", hang=True), said("ok")) as server:
        assert asked(server, timeout=0.2, retries=50) == "ok"
        assert len(server.got) >= 2  # a busy machine may take longer than that, too


def test_timeout_is_for_the_whole_answer(tmp_path: Path) -> None:
    """A byte now and then does not keep a request alive."""
    with serving(Sent(body=b"", drip=True)) as server:
        judge = opened(server, tmp_path, timeout=0.2, retries=0)
        with pytest.raises(JudgeError, match=r"no whole answer within judge\.timeout=0\.2"):
            judge.ask(MESSAGES)


def test_server_that_is_not_there_costs_nothing() -> None:
    with serving(said("ok")) as server:
        pass
    ledger = Ledger(Terms())
    with pytest.raises(JudgeError, match=rf"after 3 attempts: the judge at {server.url} cannot be reached"):
        asked(server, ledger=ledger, retries=2)
    assert ledger.spending().prompt_tokens == 0


def test_lost_answer_is_charged_at_its_most() -> None:
    ledger = Ledger(Terms())
    with serving(Sent(body=said("ok").body, cut=True), fault(500), said("ok", prompt=10, completion=5)) as server:
        asked(server, ledger=ledger)
    assert ledger.spending().completion_tokens == 100 + 5
    assert ledger.spending().prompt_tokens > 10 + sum(len(m["content"]) for m in MESSAGES)


def test_answer_without_a_count_is_charged_at_its_most(caplog: pytest.LogCaptureFixture) -> None:
    ledger = Ledger(Terms())
    with serving(said("ok", usage=None)) as server:
        asked(server, ledger=ledger)
        asked(server, ledger=ledger)
    assert ledger.spending().completion_tokens == 200
    assert "counts no tokens" in caplog.text


def test_concurrency_is_bounded_and_used(tmp_path: Path) -> None:
    """Three are under way together, as each waits for the third; a fourth never is."""
    three = threading.Barrier(3, timeout=30.0)

    def script(_: int, __: Got) -> Sent:
        three.wait()
        threading.Event().wait(0.05)  # in which a fourth would come
        return said("ok")

    with serving(script=script) as server:
        judge = opened(server, tmp_path, concurrency=3)
        with ThreadPoolExecutor(12) as pool:
            replies = list(pool.map(lambda k: judge.ask([{"role": "user", "content": str(k)}]), range(12)))
    assert len(replies) == 12
    assert server.most_at_once == 3


def test_key_is_sent_and_is_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY + "\n")
    caplog.set_level(logging.DEBUG)
    echo = fault(400, f"your key {KEY} is of no use here")
    escaped = KEY.replace("0", "\\u0030").encode()
    answers = [
        said(f"seen: {KEY}"),
        echo,
        fault(500, KEY),
        Sent(body=b"<p>" + KEY.encode()),
        said("x"),
        fault(401, KEY),
    ]
    spelt = Sent(body=answers[4].content().replace(b'"x"', b'"' + escaped + b'"'))
    with serving(*answers[:4], spelt, answers[5]) as server:
        judge = opened(server, tmp_path, key_env="JUDGE_KEY", backoff=0.001)
        assert judge.ask(MESSAGES).text == "seen: ***"
        with pytest.raises(JudgeError) as refused:
            judge.ask(MESSAGES, attempt=1)
        assert judge.ask(MESSAGES, attempt=2).text == "***"
        with pytest.raises(UserError, match="the key in JUDGE_KEY") as unauthorized:
            judge.ask(MESSAGES, attempt=3)
        assert [got.headers["authorization"] for got in server.got] == [f"Bearer {KEY}"] * 6
    for error in (refused.value, unauthorized.value):
        assert error.__context__ is None
        assert "***" in str(error)
        assert KEY not in "".join(traceback.format_exception(error))
    assert "judge: " in caplog.text
    assert KEY not in caplog.text
    assert KEY not in repr(vars(judge))
    for file in tmp_path.rglob("*"):
        assert KEY.encode() not in file.read_bytes()


def test_no_key_is_sent_where_none_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving(said("ok")) as server:
        opened(server, tmp_path, key_env=None).ask(MESSAGES)
        assert "authorization" not in server.got[0].headers
        assert KEY not in repr(server.got[0].headers)


@pytest.mark.parametrize(
    ("value", "rule"), [("", "JUDGE_KEY is not set"), (" \n", "JUDGE_KEY is not set"), ("a b", "printable ASCII")]
)
def test_key_is_checked_before_anything_is_done(monkeypatch: pytest.MonkeyPatch, value: str, rule: str) -> None:
    monkeypatch.setenv("JUDGE_KEY", value)
    with pytest.raises(UserError, match=rule):
        check_judge(openai_config(key_env="JUDGE_KEY"))


@pytest.mark.parametrize("answer", [Sent(body={"data": []}), fault(404), fault(500), fault(429)])
def test_endpoint_that_answers_will_do(answer: Sent) -> None:
    with serving(answer) as server:
        check_judge(openai_config(server))
        assert [(got.method, got.path) for got in server.got] == [("GET", "/v1/models")]


def test_endpoint_that_refuses_the_key_is_found_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    with (
        serving(fault(401, f"wrong key {KEY}")) as server,
        pytest.raises(UserError, match=r"refuses the key in JUDGE_KEY .*wrong key \*\*\*"),
    ):
        check_judge(openai_config(server, key_env="JUDGE_KEY"))


def test_endpoint_that_is_down_is_found_before() -> None:
    with serving(said("ok")) as server:
        pass
    with pytest.raises(UserError, match=rf"{server.url} cannot be reached"):
        check_judge(openai_config(server))
    check_judge(openai_config(server, check_endpoint=False))


def test_endpoint_that_hangs_is_found_before() -> None:
    with (
        serving(Sent(body=b"", hang=True)) as server,
        pytest.raises(UserError, match=r"no whole answer within judge\.timeout=0\.2"),
    ):
        check_judge(openai_config(server, timeout=0.2))


def test_judge_is_given_up_after_failures_in_a_row(tmp_path: Path) -> None:
    with serving(said("ok"), fault(400), fault(400), said("ok"), *[fault(400)] * 3, said("ok")) as server:
        judge = opened(server, tmp_path, give_up_after=3)
        asked_for = 0

        def ask() -> str:
            nonlocal asked_for
            asked_for += 1
            return judge.ask(MESSAGES, attempt=asked_for).text

        assert ask() == "ok"
        for _ in range(2):
            with pytest.raises(JudgeError, match="HTTP 400"):
                ask()
        assert ask() == "ok"
        for _ in range(3):
            with pytest.raises(JudgeError, match="HTTP 400"):
                ask()
        with pytest.raises(UserError, match=r"give_up_after=3 requests in a row had no answer.*HTTP 400"):
            ask()
        assert len(server.got) == 7
        assert judge.ask(MESSAGES, attempt=1).cached
        assert judge.spent().failed == 5


def test_refused_key_is_not_tried_again(tmp_path: Path) -> None:
    with serving(fault(401)) as server:
        judge = opened(server, tmp_path)
        for _ in range(3):
            with pytest.raises(UserError, match="HTTP 401"):
                judge.ask(MESSAGES)
        assert len(server.got) == 1


def test_connections_are_closed_with_the_judge(tmp_path: Path) -> None:
    """A socket left open would be warned of when it is collected, also where the judge is part of a cycle."""
    gc.collect()
    with serving(said("ok")) as server, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        judge = opened(server, tmp_path)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(judge.ask, ([{"role": "user", "content": str(number)}] for number in range(8))))
        cycle: list[Any] = [judge]
        cycle.append(cycle)
        del judge, cycle
        gc.collect()
    assert [str(warning.message) for warning in caught if warning.category is ResourceWarning] == []
