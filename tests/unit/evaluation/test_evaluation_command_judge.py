"""`run` with a judge behind an endpoint of this machine: what it costs, what is kept, and what is said of the key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.evaluation.benchmark_files import PER_TASK, Files
from tests.unit.evaluation.evaluation_command_cases import (
    MIXEVAL,
    MODEL,
    QUICK,
    Ended,
    command,
    everything_in,
    only,
    report_in,
)
from tests.unit.judging.judging_server import Got, Sent, Server, fault, said

KEY = "sk-very-secret-0123456789"
ITEMS = 2 * PER_TASK
Run = Callable[..., Ended]


def judged(number: int, got: Got) -> Sent:
    """0.5 for a free-form answer, option A of the others; 2,000 tokens of prompt each."""
    text = "\n".join(message["content"] for message in got.body.get("messages", ()))
    return said("[[A]]" if "Options" in text or "options" in text else "[[0.5]]", prompt=2000, completion=10)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(judged)
    yield server
    server.close()


@pytest.fixture
def run(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Judges MixEval-Hard's six items by the server."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JUDGES_KEY", KEY)
    Files(tmp_path / "data")

    def call(*more: str, judge: str = "openai") -> Ended:
        endpoint = ("judge.key_env=JUDGES_KEY", f"judge.base_url={server.url}", "judge.max_tokens=16")
        return command(
            capsys,
            *("run", MODEL, *QUICK, *only(MIXEVAL), f"judge={judge}", *(endpoint if judge == "openai" else ())),
            *(f"evaluation.data_dir={tmp_path / 'data'}", "evaluation.partial_data=true"),
            *(f"results_dir={tmp_path / 'out'}", "evaluation.scoring_threads=1", *more),
        )

    return call


def paid(server: Server) -> int:
    return sum(got.method == "POST" for got in server.got)


def test_a_judged_run_and_what_it_cost(run: Run, server: Server, tmp_path: Path) -> None:
    ended = run("judge.prompt_price=1.0", "judge.completion_price=100.0")
    assert ended.code == 0
    report = report_in(tmp_path)
    (score,) = report["scores"]
    assert score["value"] == pytest.approx(100 * (3 * 0.5 + 2) / ITEMS)  # A is right in two of the three
    assert score["figures"] == pytest.approx({"free_form": 50.0, "multiple_choice": 200 / 3, "unparsed": 0.0})
    assert paid(server) == ITEMS
    assert report["judge"] == pytest.approx(
        {
            "requests": ITEMS,
            "cached": 0,
            "failed": 0,
            "prompt_tokens": 2000 * ITEMS,
            "completion_tokens": 10 * ITEMS,
            "cost": ITEMS * (2000 * 1.0 + 10 * 100.0) / 1e6,
        }
    )


def test_a_second_run_costs_nothing(run: Run, server: Server, tmp_path: Path) -> None:
    assert run().code == 0
    scores = report_in(tmp_path)["scores"]
    assert run().code == 0
    assert paid(server) == ITEMS
    report = report_in(tmp_path)
    assert report["scores"] == scores
    assert (report["judge"]["requests"], report["judge"]["cached"]) == (0, ITEMS)


def test_the_judges_key_is_written_nowhere(run: Run, server: Server, tmp_path: Path) -> None:
    ended = run()
    assert ended.code == 0
    assert {got.headers["authorization"] for got in server.got} == {f"Bearer {KEY}"}
    assert KEY not in ended.said
    written = everything_in(tmp_path / "out")
    assert b"JUDGES_KEY" in written  # the report has the variable's name
    assert KEY.encode() not in written


def test_a_refused_key_is_not_said(run: Run, server: Server, tmp_path: Path) -> None:
    """Before the model is loaded, and though the server repeats the key."""
    server.script = lambda number, got: fault(401, f"Incorrect API key provided: {KEY}")
    ended = run()
    assert (ended.code, ended.out) == (1, "")
    assert "JUDGES_KEY" in ended.err
    assert "loading" not in ended.err
    assert KEY not in ended.said
    assert not (tmp_path / "out").exists()


def test_a_spent_budget_ends_the_run_and_a_larger_one_completes_it(run: Run, server: Server, tmp_path: Path) -> None:
    ended = run("judge.max_tokens_total=9000")
    assert (ended.code, ended.out) == (1, "")
    assert "of max_tokens_total=9000 are spent" in ended.err
    assert ended.err.splitlines()[-1] == "what was answered is kept: the same command goes on from there"
    assert "Traceback" not in ended.err
    assert 0 < paid(server) < ITEMS
    assert not list(tmp_path.glob("out/**/report.json"))

    before = paid(server)
    assert run("judge.max_tokens_total=90000").code == 0
    assert paid(server) == ITEMS  # nothing is paid twice
    spent = report_in(tmp_path)["judge"]
    assert (spent["requests"], spent["cached"]) == (ITEMS - before, before)


def test_a_budget_that_is_spent_ends_the_run_whatever_may_be_missing(run: Run) -> None:
    """Else a paid benchmark would pass for one that failed."""
    ended = run("judge.max_tokens_total=9000", "evaluation.allow_missing=true")
    assert ended.code == 1
    assert "of max_tokens_total=9000 are spent" in ended.err


def test_recorded_replies_give_the_same_scores(run: Run, server: Server, tmp_path: Path) -> None:
    assert run().code == 0
    first = report_in(tmp_path)
    server.script = lambda number, got: fault(500)
    recording = tmp_path / "out/cache/judge/openai.jsonl"
    ended = run(f"judge.path={recording}", f"out={tmp_path / 'again'}", judge="recorded")
    assert ended.code == 0
    again = report_in(tmp_path / "again")
    assert again["scores"] == first["scores"]
    assert again["judge"]["cached"] == ITEMS
    assert paid(server) == ITEMS


def test_a_recording_of_another_run_is_given_up(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "other.jsonl"
    path.write_text('{"messages": [{"role": "user", "content": "Who?"}], "text": "[[A]]"}\n')
    ended = run(f"judge.path={path}", "judge.give_up_after=2", judge="recorded")
    assert (ended.code, ended.out) == (1, "")
    assert "judge.give_up_after=2 requests in a row had no answer" in ended.err
    assert not list(tmp_path.glob("out/**/report.json"))


def test_a_judge_that_goes_away_ends_the_run(run: Run, server: Server, tmp_path: Path) -> None:
    server.script = lambda number, got: judged(number, got) if number < 3 else fault(400, "no such thing")
    ended = run("judge.give_up_after=2", "judge.retries=0")
    assert (ended.code, ended.out) == (1, "")
    assert "judge.give_up_after=2 requests in a row had no answer" in ended.err
    server.script = judged
    assert run("judge.give_up_after=2", "judge.retries=0").code == 0
    assert report_in(tmp_path)["scores"][0]["n"] == ITEMS
