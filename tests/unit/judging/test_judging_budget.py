"""A budget is never overdrawn, whoever asks at once; the figures are what the endpoint counted."""

from __future__ import annotations

import contextlib
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judging_server import Got, Sent, openai_config, said, serving

from bai_sweep.judging import BudgetError, JudgeError, Spending, open_judge
from bai_sweep.judging._budget import Ledger, Terms, Usage
from bai_sweep.judging._endpoint import upper_bound
from bai_sweep.judging._request import Request


def spend(ledger: Ledger, most: Usage, really: Usage) -> None:
    with ledger.reserved(most) as booking:
        booking.usage = really


def test_cost_is_tokens_times_prices() -> None:
    ledger = Ledger(Terms(prompt_price=2.5, completion_price=10.0))
    spend(ledger, Usage(2000, 900), Usage(1000, 200))
    spend(ledger, Usage(2000, 900), Usage(500, 100))
    spent = ledger.spending()
    assert (spent.prompt_tokens, spent.completion_tokens) == (1500, 300)
    assert spent.cost == pytest.approx((1500 * 2.5 + 300 * 10) / 1e6, rel=1e-12)


def test_unsettled_request_is_charged_at_its_most() -> None:
    ledger = Ledger(Terms())
    with pytest.raises(ZeroDivisionError, match="division"), ledger.reserved(Usage(7, 9)):
        raise ZeroDivisionError("division")
    assert (ledger.spending().prompt_tokens, ledger.spending().completion_tokens) == (7, 9)


@pytest.mark.parametrize(
    ("terms", "said_of_it"),
    [
        (Terms(max_tokens=100), r"90 tokens of max_tokens_total=100 are spent and the next request may take 11\b"),
        (
            Terms(2.0, 4.0, max_cost=0.0002),
            r"0\.0002 of max_cost=0\.0002 is spent and the next request may cost 0\.0000",
        ),
    ],
)
def test_refusal_says_what_is_spent_and_how_to_go_on(terms: Terms, said_of_it: str) -> None:
    ledger = Ledger(terms, kept_in="results/cache/judge/openai.jsonl")
    spend(ledger, Usage(80, 10), Usage(80, 10))
    with (
        pytest.raises(BudgetError, match=rf"{said_of_it}.*kept in results/cache/judge/openai\.jsonl.*raise the cap"),
        ledger.reserved(Usage(10, 1)),
    ):
        pass
    spend(ledger, Usage(0, 0), Usage(0, 0))
    assert ledger.spending().prompt_tokens == 80


def test_exactly_the_cap_is_allowed() -> None:
    ledger = Ledger(Terms(max_tokens=100))
    spend(ledger, Usage(60, 40), Usage(60, 40))
    assert ledger.spending().prompt_tokens == 60


def test_request_waits_for_what_others_may_leave() -> None:
    """One is under way and holds the whole budget back; it turns out cheap, and the next goes on."""
    ledger = Ledger(Terms(max_tokens=100))
    under_way, waiting = threading.Event(), threading.Event()
    done: list[int] = []

    def second() -> None:
        under_way.wait(30.0)
        waiting.set()
        with ledger.reserved(Usage(0, 90)) as booking:
            done.append(ledger.spending().completion_tokens)
            booking.usage = Usage(0, 1)

    thread = threading.Thread(target=second)
    thread.start()
    with ledger.reserved(Usage(0, 100)) as booking:
        under_way.set()
        waiting.wait(30.0)
        thread.join(0.05)
        assert done == []
        booking.usage = Usage(0, 10)
    thread.join(30.0)
    assert done == [10]


def test_request_does_not_wait_for_what_others_cannot_leave() -> None:
    ledger = Ledger(Terms(max_tokens=100))
    spend(ledger, Usage(0, 50), Usage(0, 50))
    with (
        ledger.reserved(Usage(0, 10)),
        pytest.raises(BudgetError, match="50 tokens of max_tokens_total=100"),
        ledger.reserved(Usage(0, 60)),
    ):
        pass


@settings(max_examples=25, deadline=None)
@given(cap=st.integers(50, 3000), seed=st.integers(0, 2**32))
def test_sixteen_threads_never_overdraw(cap: int, seed: int) -> None:
    """Whatever is reserved and whatever is used of it, spent and held back together stay within the cap."""
    terms = Terms(prompt_price=1e6, completion_price=1e6, max_cost=float(cap))
    ledger, lock = Ledger(terms), threading.Lock()
    out = spent = refused = 0

    def work(number: int) -> None:
        nonlocal out, spent, refused
        generator = random.Random(seed + number)
        for _ in range(20):
            most = generator.randint(1, 60)
            really = generator.randint(0, most)
            try:
                with ledger.reserved(Usage(0, most)) as booking:
                    with lock:
                        out += most
                        assert out + spent <= cap
                    booking.usage = Usage(0, really)
                    with lock:
                        out, spent = out - most, spent + really
            except BudgetError:
                with lock:
                    refused += 1

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    assert ledger.spending().completion_tokens == spent <= cap
    assert refused > 0 or spent < cap


def test_endpoint_keeps_to_a_budget_in_money(tmp_path: Path) -> None:
    """16 threads; the endpoint charges each request its most, so that any race would overdraw."""
    price = 1e6  # one token, one unit
    messages = [{"role": "user", "content": "x" * 50}]
    most = upper_bound(Request(tuple(dict(m) for m in messages), 0.0, 20, 0), {})
    cap = 4.5 * most.total
    with serving(said("ok", prompt=most.prompt, completion=most.completion)) as server:
        config = openai_config(
            server, concurrency=16, max_cost=cap, prompt_price=price, completion_price=price, retries=0
        )
        judge = open_judge(config, cache_dir=tmp_path)
        assert judge is not None

        def ask(attempt: int) -> bool:
            try:
                judge.ask(messages, max_tokens=20, attempt=attempt)
            except BudgetError:
                return False
            return True

        with ThreadPoolExecutor(16) as pool:
            answered = sum(pool.map(ask, range(40)))
        assert answered == len(server.got) == 4
        assert judge.spent().cost == pytest.approx(4 * most.total)
        again = open_judge(config, cache_dir=tmp_path)
        assert again is not None
        known = [again.ask(messages, max_tokens=20, attempt=k).cached for k in range(40) if _is_kept(tmp_path, k)]
        assert known == [True] * 4
        assert again.spent() == Spending(cached=4)


def _is_kept(folder: Path, attempt: int) -> bool:
    return f'"attempt":{attempt},' in (folder / "openai.jsonl").read_text(encoding="utf-8")


def test_progress_is_told_by_one_thread_at_a_time(tmp_path: Path) -> None:
    heard: list[Spending] = []
    inside = threading.Lock()

    def listen(spending: Spending) -> None:
        assert inside.acquire(blocking=False)
        threading.Event().wait(0.002)
        heard.append(spending)
        inside.release()

    def script(_: int, got: Got) -> Sent:
        return Sent(400, {"error": {"message": "no"}}) if got.body["messages"][0]["content"] == "3" else said("ok")

    with serving(script=script) as server:
        judge = open_judge(openai_config(server), cache_dir=tmp_path, on_progress=listen)
        assert judge is not None

        def ask(number: int) -> None:
            with contextlib.suppress(JudgeError):
                judge.ask([{"role": "user", "content": str(number % 8)}])

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(ask, range(16)))
    last = heard[-1]
    assert last == judge.spent()
    assert (last.requests, last.cached) == (7, 7)
    assert last.failed in (1, 2)
    assert (last.prompt_tokens, last.completion_tokens) == (70, 35)
