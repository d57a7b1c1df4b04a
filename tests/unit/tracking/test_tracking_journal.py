"""The journal survives kills, threads and NaN; batches keep MLflow's limits."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bai_sweep.tracking._delivery import LIMITS, LINE, batches
from bai_sweep.tracking._journal import JOURNAL, Acknowledged, Event, Journal, encode, left_alone, read_events
from bai_sweep.tracking._run import JournaledRun, clip, name_of


def test_events_come_back_in_order_with_their_offsets(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "a")
    journal.append("start", name="x")
    journal.append("metrics", step=1, values={"m": encode(math.inf)})
    journal.close()
    events = list(read_events(tmp_path))
    assert [(e.attempt, e.kind) for e in events] == [("a", "start"), ("a", "metrics")]
    assert float(events[1].data["values"]["m"]) == math.inf
    assert [e.kind for e in read_events(tmp_path, events[0].end)] == ["metrics"]
    assert events[-1].end == (tmp_path / JOURNAL).stat().st_size


def test_every_line_is_strict_json(tmp_path: Path) -> None:
    run = JournaledRun(tmp_path, "a", None)
    run.log_metrics({"nan": math.nan, "inf": -math.inf}, 1)
    run.close()

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    lines = (tmp_path / JOURNAL).read_text().splitlines()
    values = json.loads(lines[0], parse_constant=refuse)["values"]
    assert math.isnan(float(values["nan"]))
    assert float(values["inf"]) == -math.inf


def test_a_line_torn_by_a_kill_costs_only_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = Journal(tmp_path, "a")
    first.append("tags", values={"n": "1"})
    first.close()
    with (tmp_path / JOURNAL).open("a") as file:
        file.write('{"attempt": "a", "event": "me')
    assert [e.kind for e in read_events(tmp_path)] == ["tags"]
    second = Journal(tmp_path, "b")
    second.append("start")
    second.close()
    assert [e.attempt for e in read_events(tmp_path)] == ["a", "b"]
    assert "unreadable line" in caplog.text


def test_threads_do_not_mix_their_lines(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "a")

    def write(thread: int) -> None:
        for i in range(100):
            journal.append("tags", values={"who": f"{thread}-{i}" * 50})

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    assert len({e.data["values"]["who"] for e in read_events(tmp_path)}) == 400


def test_an_unreadable_mark_means_from_the_beginning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Acknowledged("a", 7, "r").save(tmp_path)
    assert Acknowledged.load(tmp_path) == Acknowledged("a", 7, "r")
    (tmp_path / "journal.sent.json").write_text("{")
    assert Acknowledged.load(tmp_path) is None
    assert "unreadable" in caplog.text


def test_a_living_writer_is_not_left_alone(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "a")
    with left_alone(tmp_path) as alone:
        assert not alone
    journal.close()
    with left_alone(tmp_path) as alone:
        assert alone


kinds = st.sampled_from(["params", "metrics", "tags", "artifact", "end"])


@given(st.lists(st.tuples(kinds, st.integers(1, 400), st.integers(1, 6000))))
def test_batches_keep_the_order_and_the_limits(spec: list[tuple[str, int, int]]) -> None:
    events = [event(i, kind, size, width) for i, (kind, size, width) in enumerate(spec)]
    groups = list(batches(iter(events)))
    assert [e for group in groups for e in group] == events
    for group in groups:
        assert group
        if len(group) > 1:
            sizes = {kind: sum(len(e.data["values"]) for e in group if e.kind == kind) for kind in LIMITS}
            assert all(sizes[kind] <= LIMITS[kind] for kind in LIMITS)
            assert sum(sizes.values()) <= 1000
            assert sum(len(str(e.data)) for e in group) <= 1_000_000


def event(index: int, kind: str, size: int, width: int) -> Event:
    data: Mapping[str, Any] = {}
    if kind in LINE:
        data = {"values": {str(i): "x" * (width if i == 0 else 1) for i in range(min(size, LINE[kind]))}}
    return Event("a", kind, 0, data, index)


def test_big_calls_become_lines_within_the_limits(tmp_path: Path) -> None:
    run = JournaledRun(tmp_path, "a", None)
    run.log_metrics({f"m{i}": i for i in range(1500)}, 1)
    run.log_params({f"p{i}": i for i in range(130)})
    run.close()
    events = list(read_events(tmp_path))
    assert all(len(e.data["values"]) <= LINE[e.kind] for e in events)
    assert sum(len(e.data["values"]) for e in events) == 1630


@pytest.mark.parametrize(
    ("name", "expected"),
    [("objective/kl", "objective/kl"), ("a(b)=c", "a_b__c"), ("../x", "x"), ("/a//b/", "a/b"), ("", "_")],
)
def test_names_are_what_mlflow_takes(name: str, expected: str) -> None:
    from mlflow.utils.validation import _validate_metric_name

    assert name_of(name) == expected
    _validate_metric_name(name_of(name))  # type: ignore[no-untyped-call]


def test_clipped_values_say_so() -> None:
    assert clip("x" * 6000, 6000) == "x" * 6000
    clipped = clip("x" * 6001, 6000)
    assert len(clipped) == 6000
    assert clipped.endswith("(6001 characters)")
