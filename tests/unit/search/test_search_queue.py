"""The queue on both kinds of storage: no trial is lost, none is finished twice."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import psutil
import pytest
from optuna.trial import FrozenTrial, TrialState

from bai_sweep.search._dimensions import Point
from bai_sweep.search._lease import OWNER, Lease, Watch, is_proven_dead, machine, this_owner
from bai_sweep.search._queue import ATTEMPT, REASON, Failure, QueueRules, TrialQueue
from bai_sweep.search._storage import StorageAddress
from bai_sweep.search._view import NUMBER

OpenQueue = Callable[..., TrialQueue]
WITH_RESULT = 7  # the number of the trial that has left a result
GRID: list[Point] = [{"alpha": 0.1}, {"alpha": 0.5}, {"alpha": 0.9}]


@pytest.fixture(params=["journal", "sqlite"])
def open_queue(request: pytest.FixtureRequest, tmp_path: Path) -> OpenQueue:
    """Opens one study, each time as another process would."""
    url = None if request.param == "journal" else f"sqlite:///{tmp_path}/study.db"

    def open_one(
        *, grid: bool = False, seeds: int = 1, retries: int = 0, max_failures: int | None = None
    ) -> TrialQueue:
        storage = StorageAddress(tmp_path, url).open()
        study = optuna.create_study(
            study_name="s", storage=storage, sampler=optuna.samplers.RandomSampler(seed=0), load_if_exists=True
        )
        rules = QueueRules(
            seeds=seeds,
            max_attempts=2,
            retries=retries,
            max_failures=max_failures,
            lease_seconds=60,
            planned=lambda index: GRID[index] if grid else {},
            has_result=lambda n: n == WITH_RESULT,
        )
        return TrialQueue(study, storage, rules)

    return open_one


def _run(queue: TrialQueue, claimed: FrozenTrial) -> optuna.Trial:
    trial = optuna.trial.Trial(queue.study, claimed._trial_id)
    trial.suggest_categorical("alpha", [0.1, 0.5, 0.9])
    return trial


def _claim(queue: TrialQueue) -> FrozenTrial:
    claimed = queue.claim()
    assert claimed is not None
    return claimed


def _dead_owner() -> dict[str, object]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = {"machine": machine(), "pid": process.pid, "started": psutil.Process(process.pid).create_time()}
    assert not is_proven_dead(owner)
    process.kill()
    process.communicate()
    return owner


def _abandon(queue: TrialQueue, claimed: FrozenTrial) -> None:
    queue.storage.set_trial_user_attr(claimed._trial_id, OWNER, _dead_owner())


def test_two_workers_take_each_trial_once_in_order(open_queue: OpenQueue) -> None:
    first, second = open_queue(grid=True), open_queue(grid=True)
    first.owe(3)
    taken = [_claim(first), _claim(second), _claim(first)]
    assert [t.user_attrs[NUMBER] for t in taken] == [0, 1, 2]
    assert first.claim() is None
    assert second.claim() is None
    assert _run(second, taken[1]).params == {"alpha": 0.5}


def test_filling_again_adds_only_what_is_missing(open_queue: OpenQueue) -> None:
    queue = open_queue()
    queue.owe(2)
    queue.complete(_run(queue, _claim(queue)), [1.0])
    open_queue().owe(3)
    assert queue.survey().owed == {1, 2}
    assert len(queue.study.trials) == 3


def test_interrupted_trial_runs_again_under_its_number_with_its_parameters(open_queue: OpenQueue) -> None:
    queue = open_queue()
    queue.owe(3)
    claimed = _claim(queue)
    params = _run(queue, claimed).params
    queue.interrupt(claimed)
    later = open_queue()
    again = _claim(later)  # before numbers 1 and 2, which have waited longer
    assert (again.user_attrs[NUMBER], again.user_attrs[ATTEMPT]) == (0, 1)
    assert _run(later, again).params == params
    assert queue.study.trials[0].state == TrialState.FAIL


def test_trial_of_a_dead_worker_is_requeued_until_its_attempts_are_used_up(open_queue: OpenQueue) -> None:
    queue = open_queue(grid=True)
    queue.owe(1)
    _abandon(queue, _claim(queue))
    other = open_queue(grid=True)
    assert other.recover() == []
    again = _claim(other)
    assert (again.user_attrs[NUMBER], again.user_attrs[ATTEMPT]) == (0, 2)
    assert _run(other, again).params == {"alpha": 0.1}
    _abandon(other, again)
    (failure,) = queue.recover()
    assert failure.number == 0
    assert "is gone; attempt 2 of 2" in failure.reason
    assert queue.survey().is_over
    assert queue.survey().failures == {0: failure.reason}


def _exhaust(queue: TrialQueue, number: int) -> list[Failure]:
    failures = []
    for attempt in (1, 2):
        claimed = _claim(queue)
        assert (claimed.user_attrs[NUMBER], claimed.user_attrs[ATTEMPT]) == (number, attempt)
        _abandon(queue, claimed)
        failures += queue.recover()
    return failures


def test_trial_that_has_left_its_result_is_never_given_up(open_queue: OpenQueue) -> None:
    queue = open_queue()
    queue.owe(WITH_RESULT + 1)
    for _ in range(WITH_RESULT):
        queue.complete(_run(queue, _claim(queue)), [1.0])
    assert _exhaust(queue, WITH_RESULT) == []
    assert queue.survey().failures == {}
    assert queue.survey().owed == {WITH_RESULT}
    assert queue.complete(_run(queue, _claim(queue)), [1.0])


def test_reopened_trial_has_all_its_attempts_again_and_its_parameters(open_queue: OpenQueue) -> None:
    queue = open_queue(grid=True)
    queue.owe(3)
    queue.fail(_claim(queue), Failure(0, "ValueError: no"))
    assert [f.number for f in _exhaust(queue, 1)] == [1]
    assert queue.survey().failures.keys() == {0, 1}
    assert open_queue(grid=True).reopen() == [1]
    assert open_queue(grid=True).reopen() == []  # it waits already
    assert queue.survey().failures == {0: "ValueError: no"}  # its own error would come again
    assert queue.survey().owed == {1, 2}
    assert [f.number for f in _exhaust(queue, 1)] == [1]
    assert queue.survey().failures.keys() == {0, 1}
    queue.reopen()
    assert _run(queue, _claim(queue)).params == {"alpha": 0.5}


def test_result_of_a_worker_taken_for_dead_is_dropped(open_queue: OpenQueue) -> None:
    slow, other = open_queue(grid=True), open_queue(grid=True)
    slow.owe(1)
    trial = _run(slow, claimed := _claim(slow))
    _abandon(slow, claimed)
    other.recover()
    assert not slow.complete(trial, [1.0])
    assert not slow.fail(claimed, Failure(0, "too late"))
    assert other.complete(_run(other, _claim(other)), [2.0])
    assert [t.value for t in slow.study.trials if t.state == TrialState.COMPLETE] == [2.0]


def test_living_worker_keeps_its_trial(open_queue: OpenQueue) -> None:
    queue = open_queue(grid=True)
    queue.owe(1)
    with Lease(queue.storage, _claim(queue)._trial_id, seconds=60):
        assert open_queue(grid=True).recover() == []
        assert open_queue(grid=True).claim() is None


def test_trial_requeued_by_two_processes_runs_once(open_queue: OpenQueue) -> None:
    queue = open_queue(grid=True)
    queue.owe(1)
    queue._enqueue(0, 1, {"alpha": 0.1}, 0)
    trial = _run(queue, _claim(queue))
    assert open_queue(grid=True).claim() is None
    queue.complete(trial, [1.0])
    queue._enqueue(0, 1, {"alpha": 0.1}, 0)
    assert queue.claim() is None
    assert queue.survey().finished == {0}


def test_trial_lost_between_the_two_steps_of_a_requeue_is_found(open_queue: OpenQueue) -> None:
    queue = open_queue()
    queue.owe(1)
    claimed = _claim(queue)
    params = _run(queue, claimed).params
    queue._end(claimed, "lost", "its worker is gone")  # and here the requeuing process dies
    assert queue.recover() == []
    again = _claim(queue)
    assert (again.user_attrs[NUMBER], again.user_attrs[ATTEMPT]) == (0, 2)
    assert _run(queue, again).params == params


def test_failure_is_kept_with_reason(open_queue: OpenQueue) -> None:
    queue = open_queue()
    queue.owe(1)
    assert queue.fail(_claim(queue), Failure(0, "ValueError: no", "Traceback ..."))
    assert open_queue().survey().failures == {0: "ValueError: no"}
    assert queue.study.trials[0].user_attrs[REASON] == "ValueError: no"


def _running(beat: float | None) -> FrozenTrial:
    attributes: dict[str, object] = {"lease": beat} if beat is not None else {}
    trial = optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs=attributes)
    trial.number = 0
    return trial


def test_watch_counts_on_its_own_clock() -> None:
    times = iter([0.0, 50.0, 100.0, 109.0, 111.0])
    watch = Watch(60, clock=lambda: next(times))
    # The worker's clock is wrong by years and steps back; only the change of its beat counts.
    assert [watch.verdict(_running(beat)) for beat in (5e9, 4e9, 4e9, 4e9)] == [None] * 4
    assert "silent for 61 s" in str(watch.verdict(_running(4e9)))


def test_watch_finds_a_worker_that_died_before_its_first_beat() -> None:
    times = iter([0.0, 61.0])
    watch = Watch(60, clock=lambda: next(times))
    assert watch.verdict(_running(None)) is None
    assert watch.verdict(_running(None)) is not None


def test_death_is_proven_only_on_this_machine() -> None:
    assert not is_proven_dead(this_owner())
    dead = _dead_owner()
    assert is_proven_dead(dead)
    assert not is_proven_dead({**dead, "machine": "another"})
    assert is_proven_dead({**this_owner(), "started": 1.0})  # the pid was given to another process


def test_lease_beats(open_queue: OpenQueue) -> None:
    queue = open_queue()
    queue.owe(1)
    claimed = _claim(queue)
    beats = set()
    with Lease(queue.storage, claimed._trial_id, seconds=0.15):
        for _ in range(200):
            beats.add(queue.storage.get_trial(claimed._trial_id).user_attrs.get("lease"))
            if len(beats - {None}) >= 3:
                break
            time.sleep(0.02)
    assert len(beats - {None}) >= 3
