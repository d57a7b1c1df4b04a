"""What the queue does with long studies, replicates, faults and changed spaces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from bai_sweep.search._queue import ATTEMPT, FAULTS, OUTCOME, POINT, WINDOW, Failure, QueueRules, TrialQueue
from bai_sweep.search._state import read_state
from bai_sweep.search._storage import StorageAddress
from bai_sweep.search._view import NUMBER

OpenQueue = Callable[..., TrialQueue]


@pytest.fixture
def open_queue(tmp_path: Path) -> OpenQueue:
    """Opens one study, each time as another process would."""

    def open_one(**rules: Any) -> TrialQueue:
        storage = StorageAddress(tmp_path, None).open()
        sampler = optuna.samplers.RandomSampler(seed=0)
        study = optuna.create_study(study_name="s", storage=storage, sampler=sampler, load_if_exists=True)
        defaults = QueueRules(
            seeds=1,
            max_attempts=2,
            retries=0,
            max_failures=None,
            lease_seconds=60,
            planned=lambda _: {},
            has_result=lambda _: False,
        )
        return TrialQueue(study, storage, QueueRules(**{**vars(defaults), **rules}))

    return open_one


def _claim(queue: TrialQueue) -> FrozenTrial:
    claimed = queue.claim()
    assert claimed is not None
    return claimed


def _number(trial: FrozenTrial) -> int:
    return int(trial.user_attrs[NUMBER])


def _trial(queue: TrialQueue, claimed: FrozenTrial) -> optuna.Trial:
    return optuna.trial.Trial(queue.study, claimed._trial_id)


def _complete(queue: TrialQueue, claimed: FrozenTrial, value: float = 1.0) -> None:
    assert queue.complete(_trial(queue, claimed), [value])


def _waiting(queue: TrialQueue) -> int:
    return sum(t.state == TrialState.WAITING for t in queue.trials())


def test_a_long_study_has_few_trials_waiting_and_two_workers_take_each_once(open_queue: OpenQueue) -> None:
    first, second = open_queue(), open_queue()
    first.owe(100)
    assert _waiting(first) == WINDOW
    taken: list[int] = []
    while not first.survey().is_over:
        for queue in (first, second):
            if (claimed := queue.claim()) is not None:
                taken.append(_number(claimed))
                _complete(queue, claimed)
            assert _waiting(queue) <= WINDOW
    assert taken == list(range(100))
    assert first.claim() is None
    assert len(first.study.trials) == 100


def test_a_trial_that_comes_back_goes_before_the_window(open_queue: OpenQueue) -> None:
    queue = open_queue()
    queue.owe(100)
    claimed = [_claim(queue) for _ in range(WINDOW)]
    assert _waiting(queue) == WINDOW
    queue.interrupt(claimed[3])
    assert _number(_claim(queue)) == 3
    assert _number(_claim(queue)) == WINDOW


def test_planned_points_are_put_there_one_after_the_other(open_queue: OpenQueue) -> None:
    queue = open_queue(planned=lambda index: {"x": index / 100}, seeds=2)
    queue.owe(80)
    seen = []
    while (claimed := queue.claim()) is not None:
        trial = _trial(queue, claimed)
        seen.append((_number(claimed), trial.suggest_float("x", 0, 1)))
        trial.set_user_attr(POINT, trial.params)
        _complete(queue, claimed)
    assert seen == [(number, number // 2 / 100) for number in range(80)]


def test_replicates_wait_for_the_first_one_to_choose_and_share_its_point(open_queue: OpenQueue) -> None:
    one, two = open_queue(seeds=3), open_queue(seeds=3)
    one.owe(6)
    lead = _claim(one)
    other = _claim(two)
    assert [_number(lead), _number(other)] == [0, 3]  # the next point, rather than a replicate without one
    trial = _trial(one, lead)
    chosen = trial.suggest_float("x", 0, 1)
    assert one.claim() is None  # both points are about to be chosen
    trial.set_user_attr(POINT, {"x": chosen})
    follow = [_claim(two), _claim(one)]
    assert [_number(t) for t in follow] == [1, 2]
    assert [_trial(one, t).suggest_float("x", 0, 1) for t in follow] == [chosen] * 2
    assert "fixed_params" not in other.system_attrs or not other.system_attrs["fixed_params"]


def test_where_the_first_replicate_failed_before_it_chose_the_next_one_does(open_queue: OpenQueue) -> None:
    queue = open_queue(seeds=2)
    queue.owe(2)
    assert queue.fail(_claim(queue), Failure(0, "no sampler"))
    assert _number(_claim(queue)) == 1


def test_a_replicate_that_is_lost_comes_back_with_its_point(open_queue: OpenQueue) -> None:
    queue = open_queue(seeds=2)
    queue.owe(2)
    trial = _trial(queue, claimed := _claim(queue))
    x = trial.suggest_float("x", 0, 1)
    trial.set_user_attr(POINT, {"x": x})
    queue.interrupt(claimed)
    assert _trial(queue, _claim(queue)).suggest_float("x", 0, 1) == x
    assert _trial(queue, _claim(queue)).suggest_float("x", 0, 1) == x


def test_a_fault_is_tried_again_as_often_as_the_rules_say(open_queue: OpenQueue) -> None:
    queue = open_queue(retries=2)
    queue.owe(2)
    for faults in range(3):
        claimed = _claim(queue)
        assert (_number(claimed), claimed.user_attrs[ATTEMPT], claimed.user_attrs.get(FAULTS, 0)) == (0, 1, faults)
        failure = Failure(0, "ValueError: no")
        assert queue.fail(claimed, failure)
        assert queue.is_retried(failure) == (faults < 2)
    assert queue.survey().failures == {0: "ValueError: no"}
    outcomes = [t.user_attrs.get(OUTCOME) for t in queue.trials() if _number(t) == 0]
    assert outcomes == ["retried", "retried", "failed"]


def test_what_would_fail_again_is_not_tried_again(open_queue: OpenQueue) -> None:
    queue = open_queue(retries=2)
    queue.owe(1)
    assert queue.fail(_claim(queue), Failure(0, "UserError: no", permanent=True))
    assert queue.survey().failures == {0: "UserError: no"}


def test_too_many_failures_stop_the_study_until_it_is_reopened(open_queue: OpenQueue) -> None:
    queue = open_queue(max_failures=2)
    queue.owe(9)
    queue.fail(_claim(queue), Failure(0, "a"))
    assert queue.stop_reason == ""
    queue.fail(_claim(queue), Failure(1, "b"))
    assert open_queue().stop_reason == "2 trials have failed (max_failures=2)"
    queue.reopen()
    assert queue.stop_reason == ""
    queue.fail(_claim(queue), Failure(2, "c"))
    assert queue.stop_reason == ""  # those before are forgiven
    queue.fail(_claim(queue), Failure(3, "d"))
    assert queue.stop_reason == "2 trials have failed (max_failures=2)"


def test_a_retry_is_no_failure_yet(open_queue: OpenQueue) -> None:
    queue = open_queue(max_failures=1, retries=1)
    queue.owe(2)
    queue.fail(_claim(queue), Failure(0, "a"))
    assert queue.stop_reason == ""
    queue.fail(_claim(queue), Failure(0, "a"))
    assert queue.stop_reason == "1 trials have failed (max_failures=1)"


def test_withdrawn_trials_are_owed_no_more_and_can_come_back(open_queue: OpenQueue) -> None:
    queue = open_queue(planned=lambda index: {"x": float(index)})
    queue.owe(4)
    _complete(queue, _claim(queue))
    queue.withdraw({0, 1, 2})
    assert queue.survey().owed == {3}
    assert queue.survey().finished == {0}
    state = read_state(queue.study)
    assert (state.total, len(state.finished)) == (2, 1)
    assert _number(_claim(queue)) == 3
    assert queue.claim() is None
    queue.withdraw({2})
    queue.owe(4)
    again = _claim(queue)
    assert (_number(again), again.system_attrs["fixed_params"]) == (1, {"x": 1.0})
    assert queue.claim() is None
