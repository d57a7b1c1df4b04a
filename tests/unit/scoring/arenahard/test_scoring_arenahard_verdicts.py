"""ArenaHard's verdicts: which mark counts in either version, and the recorded judgments of the official judge."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bai_sweep.scoring.arenahard import Reading, read_v01, read_v2


@pytest.mark.parametrize(
    ("text", "verdict", "again"),
    [
        ("My final verdict is: [[A>>B]].", "A>>B", False),
        ("[[B>A]] as I said: [[B>A]]", "B>A", False),
        ("[[A>B]], no, [[B>A]]", None, False),  # marks that differ: no verdict, and the judge is not asked to go on
        ("Both are good.", None, True),
        ("A is better: [A>B]", None, True),  # v0.1 knows no single brackets
        ("[[a>b]]", None, True),  # nor small letters
        ("Assistant [[A]] wins", None, False),
        ("[[A<B]]", None, False),  # official v0.1 scores know five labels
        ("", None, True),
    ],
)
def test_v01(text: str, verdict: str | None, again: bool) -> None:
    assert read_v01(text) == Reading(verdict, again)


@pytest.mark.parametrize(
    ("text", "verdict", "again"),
    [
        ("[[A>B]], no, [[B>>A]]", "B>>A", False),  # the last
        ("so: [[a=b]]", "A=B", False),
        ("I say [B>A].", "B>A", False),  # single brackets where there are no double ones
        ("[[A<<B]] and then [B>A]", "A<<B", False),
        ("[[B<A]]", "B<A", False),
        ("[[A>B]] rather than [[A]]", None, False),
        ("no mark", None, True),
    ],
)
def test_v2(text: str, verdict: str | None, again: bool) -> None:
    assert read_v2(text) == Reading(verdict, again)


def test_every_recorded_judgment_reads_as_its_stored_score(shared_data: Callable[[str], Path]) -> None:
    files = sorted(shared_data("arenahard/small_judgments_gpt4-1106").glob("*.jsonl"))
    rows = [json.loads(line) for path in files for line in path.read_text(encoding="utf-8").splitlines()]
    games = [game for row in rows for game in row.get("games", ())]
    assert len(games) == 80
    assert [read_v01(game["judgment"]).verdict for game in games] == [game["score"] for game in games]
    assert [read_v2(game["judgment"]).verdict for game in games] == [game["score"] for game in games]
