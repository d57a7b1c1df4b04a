"""Rates: no minute has more than its share; a server that wants peace has it. Retry-After in all its forms."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from judging_server import Time, endpoint, openai_config, said, serving

from bai_sweep.judging._rate import RateLimit
from bai_sweep.judging._retry import retry_after


def starts(limit: RateLimit, time: Time, tokens: list[int]) -> list[float]:
    """When each of several requests may begin, in seconds from now."""
    begun, result = time.now, []
    for size in tokens:
        limit.wait(size)
        result.append(time.now - begun)
    return result


def test_requests_are_spread_over_the_minute() -> None:
    time = Time()
    limit = RateLimit(6, None, clock=time.clock, sleep=time.sleep)
    assert starts(limit, time, [1] * 8) == pytest.approx([0, 10, 20, 30, 40, 50, 60, 70])


def test_tokens_are_paid_for_with_silence() -> None:
    time = Time()
    limit = RateLimit(None, 600, clock=time.clock, sleep=time.sleep)
    assert starts(limit, time, [100, 50, 10_000, 1]) == pytest.approx([0, 10, 15, 1015])


def test_tokens_that_were_not_used_are_given_back() -> None:
    time = Time()
    limit = RateLimit(None, 600, clock=time.clock, sleep=time.sleep)
    limit.wait(1000)
    limit.give_back(990)
    assert starts(limit, time, [1]) == pytest.approx([1])


def test_the_slower_of_both_limits_counts() -> None:
    time = Time()
    limit = RateLimit(60, 600, clock=time.clock, sleep=time.sleep)
    assert starts(limit, time, [5, 20, 1, 1]) == pytest.approx([0, 1, 3, 4])


def test_idle_minutes_are_not_saved_up() -> None:
    time = Time()
    limit = RateLimit(6, None, clock=time.clock, sleep=time.sleep)
    limit.wait(1)
    time.now += 3600
    assert starts(limit, time, [1, 1]) == pytest.approx([0, 10])


def test_held_back_requests_wait_even_if_they_had_their_turn() -> None:
    time = Time()
    limit = RateLimit(None, None, clock=time.clock, sleep=time.sleep)
    limit.hold(30)
    limit.hold(5)
    assert starts(limit, time, [1, 1]) == pytest.approx([30, 30])


def test_no_limit_never_sleeps() -> None:
    time = Time()
    starts(RateLimit(None, None, clock=time.clock, sleep=time.sleep), time, [10**9] * 3)
    assert time.slept == []


def test_threads_get_turns_of_their_own() -> None:
    """Where the clock stands still, each thread is told another time to wait."""
    slept: list[float] = []
    lock, clock = threading.Lock(), threading.local()

    def sleep(seconds: float) -> None:
        with lock:
            slept.append(seconds)
        clock.now = 1000.0 + seconds + 1e-6

    limit = RateLimit(60, None, clock=lambda: getattr(clock, "now", 1000.0), sleep=sleep)

    def work(_: int) -> None:
        clock.now = 1000.0
        limit.wait(1)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert sorted(slept) == pytest.approx([1, 2, 3, 4, 5, 6, 7])


def test_endpoint_keeps_to_its_rates() -> None:
    time = Time()
    with serving(said("ok", prompt=80, completion=20)) as server:
        backend = endpoint(openai_config(server, requests_per_minute=30, tokens_per_minute=600), time)
        for attempt in range(3):
            backend.answer(backend.request([{"role": "user", "content": "x" * 4000}], 0.0, 1000, attempt))
    # a guess of 2000 tokens would be 200 s each; the 100 that were used are 10 s
    assert sum(time.slept) == pytest.approx(20.0, abs=0.1)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, 40.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after-ms": "soon", "retry-after": "2"}, 2.0),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=lambda: 60.0) == seconds
