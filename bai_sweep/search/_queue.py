"""The queue of a study's trials, kept in Optuna's storage, from which all workers take.

Every trial the study owes is enqueued when it starts, under its number: with its parameters on a grid, without
them where a sampler will choose. A worker claims the next waiting one; the storage lets one worker win. A trial
that was interrupted is marked FAIL and enqueued again with its number and parameters, so one number may have
several Optuna trials, of which at most one is finished for good. What became of each is in its user attributes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from bai_sweep.search._lease import OWNER, Watch, machine, running_trials
from bai_sweep.search._space import Point

NUMBER = "number"
ATTEMPT = "attempt"
OUTCOME = "outcome"
REASON = "reason"
TRACEBACK = "traceback"
TOTAL = "total"

# An exhausted trial has lost its worker max_attempts times; until a resume gives it new attempts it counts as failed.
Outcome = Literal["failed", "exhausted", "interrupted", "lost", "duplicate"]

# PRUNED is Optuna's word for a trial that ended well without a value: here, one whose objective is not defined.
_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """A trial that has failed for good."""

    number: int
    reason: str
    traceback: str = ""


@dataclass(frozen=True)
class Survey:
    """How far a study is: numbers of trials with a result, reasons of those failed for good, numbers still owed."""

    finished: frozenset[int]
    failures: dict[int, str]
    owed: frozenset[int]
    alive: frozenset[int]  # owed, and waiting or running

    @property
    def is_over(self) -> bool:
        return not self.owed


class TrialQueue:
    """The queue as one process sees it.

    `fill` once, by the process that starts the study; then, in each worker, `claim` and one of `complete`,
    `complete_unscored`, `fail` and `interrupt` in turn, and `recover` whenever there is nothing to claim.

    Args:
        study: the study.
        storage: the study's.
        max_attempts: how often a trial may lose its worker.
        lease_seconds: a worker that is silent for this long has died.
        has_result: whether the trial of a number has left its whole result; it is never given up, since running
            it again only hands the result in.
    """

    def __init__(
        self,
        study: optuna.Study,
        storage: BaseStorage,
        *,
        max_attempts: int,
        lease_seconds: float,
        has_result: Callable[[int], bool],
    ) -> None:
        self.study = study
        self.storage = storage
        self._max_attempts = max_attempts
        self._has_result = has_result
        self._watch = Watch(lease_seconds)
        self._study_id = storage.get_study_id_from_name(study.study_name)

    def fill(self, total: int, grid: Sequence[Point] | None) -> None:
        """Makes the study owe `total` trials, at the points of `grid` or wherever the sampler will choose."""
        if self.study.user_attrs.get(TOTAL) != total:
            self.study.set_user_attr(TOTAL, total)
        for number in sorted(self._missing()):
            self._enqueue(number, attempt=1, params=dict(grid[number]) if grid is not None else {})

    def survey(self) -> Survey:
        """Counts what is done and what is owed."""
        finished: set[int] = set()
        alive: set[int] = set()
        failures = {number: str(trial.user_attrs[REASON]) for number, trial in self._exhausted().items()}
        for trial in self._numbered():
            number = trial.user_attrs[NUMBER]
            if trial.state in _FINISHED:
                finished.add(number)
            elif not trial.state.is_finished():
                alive.add(number)
            elif trial.user_attrs.get(OUTCOME) == "failed":
                failures[number] = trial.user_attrs.get(REASON, "unknown")
        owed = set(range(self.study.user_attrs.get(TOTAL, 0))) - finished - failures.keys()
        return Survey(frozenset(finished), failures, frozenset(owed), frozenset(alive & owed))

    def claim(self) -> FrozenTrial | None:
        """Takes the waiting trial with the lowest number, None if there is none."""
        # In the order of the numbers, so that a requeued trial comes first; one without was put there by others.
        waiting_trials = (t for t in self._numbered() if t.state == TrialState.WAITING)
        for waiting in sorted(waiting_trials, key=lambda t: t.user_attrs[NUMBER]):
            try:
                if not self.storage.set_trial_state_values(waiting._trial_id, TrialState.RUNNING):
                    continue
            except UpdateFinishedTrialError:
                continue
            if self._is_duplicate(waiting):
                self._end(waiting, "duplicate", "the trial runs or ran elsewhere")
                continue
            return self.storage.get_trial(waiting._trial_id)
        return None

    def complete(self, trial: optuna.Trial, value: float) -> bool:
        """Records the objective's value; False if others took this worker for dead and the value is dropped."""
        try:
            self.study.tell(trial, value)
        except (ValueError, UpdateFinishedTrialError):
            # Optuna says "cannot tell a FAIL trial" by ValueError.
            if self.storage.get_trial(trial._trial_id).state == TrialState.RUNNING:
                raise
            return False
        return True

    def complete_unscored(self, trial: FrozenTrial | optuna.Trial) -> bool:
        """Records that a trial ended well and has no objective; False if others took this worker for dead."""
        try:
            return self.storage.set_trial_state_values(trial._trial_id, TrialState.PRUNED)
        except UpdateFinishedTrialError:
            return False

    def fail(self, trial: FrozenTrial | optuna.Trial, failure: Failure) -> bool:
        """Records a failure for good; False if others took this worker for dead."""
        return self._end(trial, "failed", failure.reason, failure.traceback)

    def interrupt(self, trial: FrozenTrial | optuna.Trial) -> None:
        """Gives a trial back that was stopped on purpose: it waits again, and the attempt does not count."""
        current = self.storage.get_trial(trial._trial_id)
        if self._end(current, "interrupted", "stopped by the user"):
            self._enqueue(current.user_attrs[NUMBER], current.user_attrs[ATTEMPT], _known_params(current))

    def recover(self) -> list[Failure]:
        """Requeues trials whose worker has died, and those lost between two steps of a requeue.

        Returns:
            those that have used up their attempts and thereby failed for good.
        """
        failures = [f for trial in running_trials(self.study) if (f := self._recover(trial)) is not None]
        for number in sorted(self._missing()):
            past = [t for t in self._numbered() if t.user_attrs[NUMBER] == number]
            if past:
                lost = past[-1].user_attrs.get(OUTCOME) == "lost"
                self._enqueue(number, past[-1].user_attrs[ATTEMPT] + lost, _known_params(past[-1]))
        return failures

    def reopen(self) -> list[int]:
        """Gives the trials whose attempts are used up as many again; their numbers."""
        exhausted = self._exhausted()
        for number, trial in exhausted.items():
            self._enqueue(number, attempt=1, params=_known_params(trial))
        return list(exhausted)

    def has_held(self, pid: int) -> bool:
        """True if a process of this machine has ever claimed a trial."""
        owners = (t.user_attrs.get(OWNER, {}) for t in self._numbered())
        return any(owner.get("pid") == pid and owner.get("machine") == machine() for owner in owners)

    def _recover(self, trial: FrozenTrial) -> Failure | None:
        if NUMBER not in trial.user_attrs or (why := self._watch.verdict(trial)) is None:
            return None
        number, attempt = trial.user_attrs[NUMBER], trial.user_attrs[ATTEMPT]
        if attempt >= self._max_attempts and not self._has_result(number):
            failure = Failure(number, f"{why}; attempt {attempt} of {self._max_attempts}, the last before resume=true")
            return failure if self._end(trial, "exhausted", failure.reason) else None
        if self._end(trial, "lost", why):
            _log.warning("trial %d goes back to the queue: %s", number, why)
            self._enqueue(number, attempt + 1, _known_params(trial))
        return None

    def _end(self, trial: FrozenTrial | optuna.Trial, outcome: Outcome, reason: str, traceback: str = "") -> bool:
        """Marks a running trial FAIL; of several processes that try, one gets True."""
        notes = {OUTCOME: outcome, REASON: reason} | ({TRACEBACK: traceback} if traceback else {})
        try:
            for key, note in notes.items():
                self.storage.set_trial_user_attr(trial._trial_id, key, note)
            return self.storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        except UpdateFinishedTrialError:
            return False

    def _enqueue(self, number: int, attempt: int, params: dict[str, Any]) -> None:
        self.study.enqueue_trial(params, user_attrs={NUMBER: number, ATTEMPT: attempt})

    def _exhausted(self) -> dict[int, FrozenTrial]:
        """The trials whose attempts are used up and that no resume has enqueued again since, by number."""
        # In Optuna's order, so the last that is no duplicate tells.
        last = {t.user_attrs[NUMBER]: t for t in self._numbered() if t.user_attrs.get(OUTCOME) != "duplicate"}
        return {
            number: trial
            for number, trial in last.items()
            if trial.state == TrialState.FAIL and trial.user_attrs.get(OUTCOME) == "exhausted"
        }

    def _missing(self) -> frozenset[int]:
        survey = self.survey()
        return survey.owed - survey.alive

    def _numbered(self) -> list[FrozenTrial]:
        return [t for t in self.study.get_trials(deepcopy=False) if NUMBER in t.user_attrs]

    def _is_duplicate(self, claimed: FrozenTrial) -> bool:
        """Two processes may requeue one trial at once; then the elder counts."""
        for other in self._numbered():
            if other.user_attrs[NUMBER] != claimed.user_attrs[NUMBER] or other.number == claimed.number:
                continue
            if other.state in _FINISHED or other.user_attrs.get(OUTCOME) == "failed":
                return True
            if other.state == TrialState.RUNNING and other.number < claimed.number:
                return True
        return False


def _known_params(trial: FrozenTrial) -> dict[str, Any]:
    return dict(trial.system_attrs.get("fixed_params", {})) | trial.params
