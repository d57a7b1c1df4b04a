"""The queue of a study's trials, kept in Optuna's storage, from which all workers take.

A study owes `total` trials, numbered from 0; `seeds` of them in a row are replicates of one point. A few of them wait
in the storage at any time: whoever takes the last of these puts the next ones there, so that a long study costs its
storage no more than a short one. A worker claims the next waiting one; the storage lets one worker win. A trial
that was interrupted is marked FAIL and enqueued again with its number and parameters, so one number may have
several Optuna trials, of which at most one is finished for good. What became of each is in its user attributes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from bai_sweep.search._lease import OWNER, Watch, machine
from bai_sweep.search._view import NUMBER

ATTEMPT = "attempt"
FAULTS = "faults"  # how often it has failed before
POINT = "point"  # what the sampler chose, whole: its replicates take it from here
OUTCOME = "outcome"
REASON = "reason"
TRACEBACK = "traceback"
TOTAL = "total"
WITHDRAWN = "withdrawn"  # numbers that a forced change of the search space has left without a point
STOP = "stop"  # why no further trial is to begin; empty while the study goes on
FORGIVEN = "forgiven"  # failures before the last resume, which max_failures does not count
WINDOW = 32  # trials that wait in the storage, at most

# An exhausted trial has lost its worker max_attempts times; until a resume gives it new attempts it counts as failed.
Outcome = Literal["failed", "retried", "exhausted", "interrupted", "lost", "duplicate", "withdrawn"]

# PRUNED is Optuna's word for a trial that ended well without a value.
_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """A trial that has failed; `permanent` if it would fail again."""

    number: int
    reason: str
    traceback: str = ""
    permanent: bool = False


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


@dataclass(frozen=True)
class QueueRules:
    """How a study's trials are handed out.

    Args:
        seeds: replicates of each point.
        max_attempts: how often a trial may lose its worker.
        retries: how often a trial that failed is run again.
        max_failures: failed trials after which no further one begins; None: no limit.
        lease_seconds: a worker that is silent for this long has died.
        planned: Optuna's parameters of a point that is not the sampler's choice, by its index.
        has_result: whether the trial of a number has left its whole result; it is never given up, since running
            it again only hands the result in.
    """

    seeds: int
    max_attempts: int
    retries: int
    max_failures: int | None
    lease_seconds: float
    planned: Callable[[int], Mapping[str, Any]]
    has_result: Callable[[int], bool]


class TrialQueue:
    """The queue as one process sees it.

    `owe` once, by the process that starts the study; then, in each worker, `claim` and one of `complete`,
    `end_without_value`, `fail` and `interrupt` in turn, and `recover` whenever there is nothing to claim.
    """

    def __init__(self, study: optuna.Study, storage: BaseStorage, rules: QueueRules) -> None:
        self.study = study
        self.storage = storage
        self.rules = rules
        self._watch = Watch(rules.lease_seconds)
        self._study_id = storage.get_study_id_from_name(study.study_name)

    def owe(self, total: int) -> None:
        """Makes the study owe the trials 0 to `total` - 1."""
        if self.study.user_attrs.get(TOTAL) != total:
            self.study.set_user_attr(TOTAL, total)
        self._stock()

    def survey(self) -> Survey:
        """Counts what is done and what is owed."""
        return self._survey(self.trials())

    def claim(self) -> FrozenTrial | None:
        """Takes the waiting trial with the lowest number, None if there is none that can begin."""
        # In the order of the numbers, so that a requeued trial comes first; one without was put there by others.
        trials = self.trials()
        waiting = sorted((t for t in trials if t.state == TrialState.WAITING), key=_number)
        for trial in waiting:
            params = self._params_of(trial, trials)
            if params is None or not self._take(trial):
                continue
            if len(waiting) == 1:
                self._stock()
            if self._is_duplicate(trial):
                self._end(trial, "duplicate", "the trial runs or ran elsewhere")
                continue
            if params != trial.system_attrs.get("fixed_params", {}):
                self.storage.set_trial_system_attr(trial._trial_id, "fixed_params", params)
            return self.storage.get_trial(trial._trial_id)
        return None

    def complete(self, trial: optuna.Trial, values: list[float]) -> bool:
        """Records the objectives' values; False if others took this worker for dead and they are dropped."""
        try:
            self.study.tell(trial, values)
        except (ValueError, UpdateFinishedTrialError):
            # Optuna says "cannot tell a FAIL trial" by ValueError.
            if self.storage.get_trial(trial._trial_id).state == TrialState.RUNNING:
                raise
            return False
        return True

    def end_without_value(self, trial: FrozenTrial | optuna.Trial, reason: str) -> bool:
        """Records that a trial ended well and has no objective; False if others took this worker for dead."""
        try:
            self.storage.set_trial_user_attr(trial._trial_id, REASON, reason)
            return self.storage.set_trial_state_values(trial._trial_id, TrialState.PRUNED)
        except UpdateFinishedTrialError:
            return False

    def fail(self, trial: FrozenTrial | optuna.Trial, failure: Failure) -> bool:
        """Records a failure, and enqueues the trial again if it may be retried.

        Returns:
            False if others took this worker for dead.
        """
        current = self.storage.get_trial(trial._trial_id)
        faults = current.user_attrs.get(FAULTS, 0) + 1
        if not failure.permanent and faults <= self.rules.retries:
            kept = self._end(current, "retried", failure.reason, failure.traceback)
            if kept:
                _log.warning("trial %d runs once more: %s", failure.number, failure.reason)
                self._enqueue(failure.number, current.user_attrs[ATTEMPT], _known_params(current), faults)
            return kept
        kept = self._end(current, "failed", failure.reason, failure.traceback)
        if kept:
            self._give_up_if_hopeless()
        return kept

    def is_retried(self, failure: Failure) -> bool:
        """Whether a trial whose failure was recorded is owed once more."""
        return failure.number in self.survey().owed

    def interrupt(self, trial: FrozenTrial | optuna.Trial) -> None:
        """Gives a trial back that was stopped on purpose: it waits again, and the attempt does not count."""
        current = self.storage.get_trial(trial._trial_id)
        if self._end(current, "interrupted", "stopped by the user"):
            attrs = current.user_attrs
            self._enqueue(attrs[NUMBER], attrs[ATTEMPT], _known_params(current), attrs.get(FAULTS, 0))

    def recover(self) -> list[Failure]:
        """Requeues trials whose worker has died, and those lost between two steps of a requeue.

        Returns:
            those that have used up their attempts and thereby failed for good.
        """
        running = [t for t in self.trials() if t.state == TrialState.RUNNING]
        failures = [f for trial in running if (f := self._recover(trial)) is not None]
        self._stock()
        if failures:
            self._give_up_if_hopeless()
        return failures

    def reopen(self) -> list[int]:
        """Goes on: takes a stop back, and gives the trials whose attempts are used up as many again; their numbers."""
        self.study.set_user_attr(STOP, "")
        exhausted = _exhausted(self.trials())
        for number, trial in exhausted.items():
            self._enqueue(number, 1, _known_params(trial), 0)
        self.study.set_user_attr(FORGIVEN, len(self.survey().failures))
        return list(exhausted)

    def withdraw(self, numbers: set[int]) -> None:
        """Owes these trials no more, and any that were withdrawn before again."""
        if sorted(numbers) == self.study.user_attrs.get(WITHDRAWN, []):
            return
        self.study.set_user_attr(WITHDRAWN, sorted(numbers))
        for trial in self.trials():
            if trial.state == TrialState.WAITING and _number(trial) in numbers and self._take(trial):
                self._end(trial, "withdrawn", "its point is not in the search space any more")

    @property
    def stop_reason(self) -> str:
        """Why no further trial is to begin; empty while the study goes on."""
        return str(self.storage.get_study_user_attrs(self._study_id).get(STOP, ""))

    def request_stop(self, reason: str) -> None:
        """Lets no further trial begin, in any worker."""
        self.study.set_user_attr(STOP, reason)

    def has_held(self, pid: int) -> bool:
        """True if a process of this machine has ever claimed a trial."""
        owners = (t.user_attrs.get(OWNER, {}) for t in self.trials())
        return any(owner.get("pid") == pid and owner.get("machine") == machine() for owner in owners)

    def trials(self) -> list[FrozenTrial]:
        """Every Optuna trial of the queue; those without a number were put there by others."""
        return [t for t in self.storage.get_all_trials(self._study_id, deepcopy=False) if NUMBER in t.user_attrs]

    def _survey(self, trials: list[FrozenTrial]) -> Survey:
        finished: set[int] = set()
        alive: set[int] = set()
        failures = {number: str(trial.user_attrs[REASON]) for number, trial in _exhausted(trials).items()}
        for trial in trials:
            number = _number(trial)
            if trial.state in _FINISHED:
                finished.add(number)
            elif not trial.state.is_finished():
                alive.add(number)
            elif trial.user_attrs.get(OUTCOME) == "failed":
                failures[number] = trial.user_attrs.get(REASON, "unknown")
        attrs = self.storage.get_study_user_attrs(self._study_id)
        gone = finished | failures.keys() | set(attrs.get(WITHDRAWN, []))
        owed = set(range(attrs.get(TOTAL, 0))) - gone
        return Survey(frozenset(finished), failures, frozenset(owed), frozenset(alive & owed))

    def _stock(self) -> None:
        """Enqueues owed trials that are not there, the lowest numbers first, as far as there is room in the window."""
        trials = self.trials()
        survey = self._survey(trials)
        past = {_number(trial): trial for trial in trials}
        waiting = sum(t.state == TrialState.WAITING for t in trials)
        for number in sorted(survey.owed - survey.alive):
            if (last := past.get(number)) is not None:
                lost = last.user_attrs.get(OUTCOME) == "lost"
                attempt, faults = last.user_attrs[ATTEMPT] + lost, last.user_attrs.get(FAULTS, 0)
                self._enqueue(number, attempt, _known_params(last), faults)
            elif waiting < WINDOW:
                self._enqueue(number, 1, dict(self.rules.planned(number // self.rules.seeds)), 0)
                waiting += 1

    def _params_of(self, trial: FrozenTrial, trials: list[FrozenTrial]) -> dict[str, Any] | None:
        """What a trial starts from: its own, or its point's; None while another replicate is about to choose them."""
        number, seeds = _number(trial), self.rules.seeds
        own = dict(trial.system_attrs.get("fixed_params", {}))
        if seeds == 1:
            return own
        others = [t for t in trials if _number(t) // seeds == number // seeds and _number(t) != number]
        chosen = next((t for t in others if POINT in t.user_attrs), None)
        if chosen is not None:
            return own | chosen.params
        leads = not any(not t.state.is_finished() and _number(t) < number for t in others)
        return own if leads else None

    def _take(self, trial: FrozenTrial) -> bool:
        try:
            return self.storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
        except UpdateFinishedTrialError:
            return False

    def _give_up_if_hopeless(self) -> None:
        most = self.rules.max_failures
        if most is None:
            return
        failed = len(self.survey().failures) - self.study.user_attrs.get(FORGIVEN, 0)
        if failed >= most and not self.stop_reason:
            self.request_stop(f"{failed} trials have failed (max_failures={most})")

    def _recover(self, trial: FrozenTrial) -> Failure | None:
        if (why := self._watch.verdict(trial)) is None:
            return None
        number, attempt = _number(trial), trial.user_attrs[ATTEMPT]
        most = self.rules.max_attempts
        if attempt >= most and not self.rules.has_result(number):
            failure = Failure(number, f"{why}; attempt {attempt} of {most}, the last before resume=true")
            return failure if self._end(trial, "exhausted", failure.reason) else None
        if self._end(trial, "lost", why):
            _log.warning("trial %d goes back to the queue: %s", number, why)
            self._enqueue(number, attempt + 1, _known_params(trial), trial.user_attrs.get(FAULTS, 0))
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

    def _enqueue(self, number: int, attempt: int, params: dict[str, Any], faults: int) -> None:
        attrs = {NUMBER: number, ATTEMPT: attempt} | ({FAULTS: faults} if faults else {})
        self.study.enqueue_trial(params, user_attrs=attrs)

    def _is_duplicate(self, claimed: FrozenTrial) -> bool:
        """Two processes may enqueue one trial at once; then the elder counts."""
        for other in self.trials():
            if _number(other) != _number(claimed) or other.number == claimed.number:
                continue
            if other.state in _FINISHED or other.user_attrs.get(OUTCOME) == "failed":
                return True
            if other.state == TrialState.RUNNING and other.number < claimed.number:
                return True
        return False


def _number(trial: FrozenTrial) -> int:
    number: int = trial.user_attrs[NUMBER]
    return number


def _exhausted(trials: list[FrozenTrial]) -> dict[int, FrozenTrial]:
    """The trials whose attempts are used up and that no resume has enqueued again since, by number."""
    # In Optuna's order, so the last that is no duplicate tells.
    last = {_number(t): t for t in trials if t.user_attrs.get(OUTCOME) != "duplicate"}
    return {
        number: trial
        for number, trial in last.items()
        if trial.state == TrialState.FAIL and trial.user_attrs.get(OUTCOME) == "exhausted"
    }


def _known_params(trial: FrozenTrial) -> dict[str, Any]:
    return dict(trial.system_attrs.get("fixed_params", {})) | trial.params
