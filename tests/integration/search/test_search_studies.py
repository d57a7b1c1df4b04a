"""Whole studies in this process: real Hydra, real configuration, real Optuna; a trial that takes no time."""

from __future__ import annotations

import logging
import math
import signal
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import optuna
import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from optuna.trial import TrialState

from bai_sweep.config import TrialConfig
from bai_sweep.records import UserError
from bai_sweep.search import RunningTrial
from bai_sweep.search._sampler import make_sampler
from tests.integration.search.studies import Studies


def test_grid_runs_in_product_order_each_trial_in_its_folder(studies: Studies) -> None:
    seen: list[tuple[float, str, int, str]] = []

    def task(_trial: RunningTrial, cfg: DictConfig) -> float:
        hydra = HydraConfig.get()
        seen.append((cfg.alpha, cfg.actor.name, hydra.job.num, cfg.study))
        logging.getLogger("test").info("hello from %s", cfg.alpha)
        return float(cfg.alpha)

    studies.run("alpha=0.1,0.9", "actor=bai,paradigm1", "rl.steps=7", "study=g", task=task)
    assert seen == [(0.1, "bai", 0, "g"), (0.1, "paradigm1", 1, "g"), (0.9, "bai", 2, "g"), (0.9, "paradigm1", 3, "g")]
    folder = studies.folder / "results/g"
    assert [t.folder for t in studies.ran] == [folder / "trials" / str(n) for n in range(4)]
    assert studies.ran[3].params == {"alpha": 0.9, "actor": "paradigm1"}
    assert OmegaConf.load(folder / "trials/3/.hydra/overrides.yaml") == [
        "rl.steps=7",
        "alpha=0.9",
        "actor=paradigm1",
        "study=g",
    ]
    assert "hello from 0.9" in (folder / "trials/3/trial.log").read_text()
    assert "hello from 0.1" not in (folder / "trials/3/trial.log").read_text()
    assert (folder / "multirun.yaml").is_file()
    assert [(t.params["alpha"], t.value) for t in studies.trials("g")] == [
        (0.1, 0.1),
        (0.1, 0.1),
        (0.9, 0.9),
        (0.9, 0.9),
    ]


def test_space_of_the_sweeper_config_gives_way_to_the_command_line(studies: Studies) -> None:
    studies.run('hydra.sweeper.params={alpha: "0.1,0.2", seed: "1,2"}', "alpha=0.7")
    assert [t.params for t in studies.ran] == [{"seed": 1}, {"seed": 2}]


def test_search_asks_what_optuna_alone_would_ask(studies: Studies) -> None:
    def value(alpha: float, actor: str, epochs: int) -> float:
        return -abs(alpha - 0.3) - (actor != "bai") + 0.01 * epochs

    def task(_trial: RunningTrial, cfg: DictConfig) -> float:
        return value(cfg.alpha, cfg.actor.name, cfg.rl.ppo_epochs)

    studies.run(
        "alpha=interval(0,1)",
        "actor=bai,stage1",
        "rl.ppo_epochs=int(interval(1,3))",
        "hydra.sweeper.n_trials=8",
        "+hydra.sweeper.sampler.n_startup_trials=3",
        "seed=5",
        task=task,
    )
    assert studies.numbers() == list(range(8))

    sampler = {"_target_": "optuna.samplers.TPESampler", "seed": 5, "multivariate": True, "n_startup_trials": 3}
    alone = optuna.create_study(direction="maximize")
    for number in range(8):
        alone.sampler = make_sampler(sampler, number)
        trial = alone.ask()
        alpha = trial.suggest_float("alpha", 0, 1)
        actor = trial.suggest_categorical("actor", ["bai", "stage1"])
        alone.tell(trial, value(alpha, actor, trial.suggest_int("rl.ppo_epochs", 1, 3)))
    ours = studies.trials()
    assert [t.params for t in ours] == [t.params for t in alone.trials]
    assert [t.value for t in ours] == [t.value for t in alone.trials]


def test_resumed_search_asks_what_the_uninterrupted_one_would_have(studies: Studies) -> None:
    search = ("alpha=interval(0,1)", "+hydra.sweeper.sampler.n_startup_trials=2")
    studies.run(*search, "study=whole", "hydra.sweeper.n_trials=4")

    def stopped(trial: RunningTrial, cfg: DictConfig) -> float:
        if trial.number == 1:
            raise KeyboardInterrupt
        return float(cfg.alpha)

    studies.numbers()
    studies.fails(*search, "study=parts", "hydra.sweeper.n_trials=2", code=130, task=stopped)
    assert studies.numbers() == [0, 1]
    studies.run(*search, "study=parts", "hydra.sweeper.n_trials=4", "resume=true")  # the budget may grow
    assert studies.numbers() == [1, 2, 3]
    values = {
        name: {t.user_attrs["number"]: t.value for t in studies.trials(name) if t.state == TrialState.COMPLETE}
        for name in ("whole", "parts")
    }
    assert values["parts"] == values["whole"]
    assert len(set(values["whole"].values())) == 4


def test_failed_trial_is_recorded_and_the_others_go_on(studies: Studies, capsys: pytest.CaptureFixture[str]) -> None:
    def task(trial: RunningTrial, cfg: DictConfig) -> float:
        if trial.number == 1:
            raise ValueError("no such luck")
        return float(cfg.alpha)

    studies.fails("alpha=0.1,0.5,0.9", code=1, task=task)
    assert studies.numbers() == [0, 1, 2]
    trials = studies.trials()
    assert [t.state for t in trials] == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]
    assert trials[1].user_attrs["reason"] == "ValueError: no such luck"
    assert "in task" in trials[1].user_attrs["traceback"]
    folder = studies.folder / "results/default/trials/1"
    assert (folder / "failure.txt").read_text().startswith("ValueError: no such luck\n\nTraceback")
    assert "no such luck" in (folder / "trial.log").read_text()
    said = capsys.readouterr().err
    assert "1 of 3 trials failed" in said
    assert "1: ValueError: no such luck" in said
    # It has failed for good: resume neither runs it again nor forgets it.
    studies.fails("alpha=0.1,0.5,0.9", "resume=true", code=1)
    assert studies.numbers() == []


@pytest.mark.parametrize(
    ("returned", "more", "reason"),
    [
        (math.nan, ["hydra.sweeper.n_trials=2"], "the objective eval/overall is not a number, and the sampler needs"),
        (None, [], "a trial returns its objective"),
    ],
)
def test_trial_without_an_objective_fails_alone(
    studies: Studies, returned: object, more: list[str], reason: str
) -> None:
    def task(trial: RunningTrial, _cfg: DictConfig) -> object:
        return returned if trial.number == 0 else 1.0

    studies.fails("alpha=0.1,0.5", *more, code=1, task=task)
    first, second = studies.trials()
    assert reason in first.user_attrs["reason"]
    assert (first.state, second.state) == (TrialState.FAIL, TrialState.COMPLETE)


def test_a_grid_point_without_an_objective_is_finished_all_the_same(studies: Studies) -> None:
    def task(_trial: RunningTrial, _cfg: DictConfig) -> float:
        return math.nan

    studies.run("alpha=0.1,0.5", task=task)
    assert [t.state for t in studies.trials()] == [TrialState.PRUNED] * 2
    assert studies.numbers() == [0, 1]
    studies.run("alpha=0.1,0.5", "resume=true")
    assert studies.numbers() == []


def test_exit_in_a_trial_is_its_failure(studies: Studies) -> None:
    def task(_trial: RunningTrial, _cfg: DictConfig) -> float:
        raise SystemExit("a library gave up")

    studies.fails("alpha=0.1,0.5", code=1, task=task)
    assert [t.user_attrs["reason"] for t in studies.trials()] == ["SystemExit: a library gave up"] * 2


def test_study_of_the_same_name_is_left_alone(studies: Studies, capsys: pytest.CaptureFixture[str]) -> None:
    studies.run("alpha=0.1")
    assert "study default: new, in" in capsys.readouterr().out
    studies.run("alpha=0.1")
    assert "study default-2: new (default exists" in capsys.readouterr().out
    assert [t.study for t in studies.ran] == ["default", "default-2"]
    assert studies.ran[1].folder == studies.folder / "results/default-2/trials/0"
    assert studies.numbers() == [0, 0]
    studies.run("alpha=0.1", "resume=true")
    assert "study default-2: going on" in capsys.readouterr().out
    assert studies.numbers() == []


def test_database_keeps_studies_apart(studies: Studies) -> None:
    database = f"hydra.sweeper.storage=sqlite:///{studies.folder}/studies.db"
    studies.run("alpha=0.1", database)
    studies.run("alpha=0.2", database)
    studies.run("alpha=0.2", database, "resume=true")
    assert [t.study for t in studies.ran] == ["default", "default-2"]
    assert not list(studies.folder.glob("results/*/study.log"))


def test_another_search_space_is_not_a_resume(studies: Studies, capsys: pytest.CaptureFixture[str]) -> None:
    studies.run("alpha=0.1,0.5")
    journal = studies.folder / "results/default/study.log"
    before = journal.read_text()
    studies.fails("alpha=0.1,0.6", "seed=1,2", "resume=true", code=2)
    said = capsys.readouterr().err
    assert "alpha: 0.1,0.5 before, 0.1,0.6 now" in said
    assert "seed: 0 before, 1,2 now" in said
    assert journal.read_text() == before


def test_other_settings_are_not_a_resume(studies: Studies, capsys: pytest.CaptureFixture[str]) -> None:
    studies.run("alpha=0.1,0.5", "rl=ppo,none", "tracking.uri=http://me:secret@host")
    journal = studies.folder / "results/default/study.log"
    before = journal.read_text()
    assert "secret" not in before
    same = ("alpha=0.1,0.5", "rl=ppo,none", "resume=true")
    studies.fails(*same, "seed=7", "evaluation.max_new_tokens=5", code=2)
    said = [line for line in capsys.readouterr().err.splitlines() if " before, " in line]
    assert said == ["  seed: 0 before, 7 now", "  evaluation.max_new_tokens: 200 before, 5 now"]
    assert journal.read_text() == before
    studies.numbers()
    # None of these makes a trial another one.
    studies.run(*same, "threads=1", "device=cpu", "save_merge=true", "tracking=none", "selection.max_kl=3")
    assert studies.numbers() == []


def test_what_a_swept_key_decides_may_differ_between_trials(studies: Studies) -> None:
    search = ("alpha=interval(0,1)", "actor=bai,stage1", "hydra.sweeper.n_trials=2")
    studies.run(*search)
    definition = studies.study().user_attrs["definition"]
    assert {"rl.steps", "seed", "model.base", "weights.instruct"} <= definition.keys()
    assert not {"actor.alpha", "actor.name", "tracking.uri", "study", "device"} & definition.keys()
    assert definition["alpha"] == "interval(0,1)"


def test_nothing_to_resume_is_told(studies: Studies, capsys: pytest.CaptureFixture[str]) -> None:
    studies.fails("alpha=0.1", "resume=true", code=2)
    assert "no study default to resume in results; there is none at all" in capsys.readouterr().err
    assert list(studies.folder.iterdir()) == []
    studies.run("alpha=0.1", "study=exp-2024")
    studies.fails("alpha=0.1", "study=exp", "resume=true", code=2)
    assert "no study exp to resume in results; there are exp-2024" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["/proc/nope", "file", "file/x"])
def test_folder_that_cannot_be_made_is_told(studies: Studies, where: str, capsys: pytest.CaptureFixture[str]) -> None:
    (studies.folder / "file").touch()
    studies.fails("alpha=0.1", f"results_dir={where}", code=2)
    assert f"cannot write {where}" in capsys.readouterr().err
    assert studies.numbers() == []


def test_study_goes_on_after_its_journal_was_torn(studies: Studies) -> None:
    studies.run("alpha=0.1,0.5")
    journal = studies.folder / "results/default/study.log"
    journal.write_bytes(journal.read_bytes()[:-20])
    studies.numbers()
    # The line told that trial 1 had ended; its owner, this process, lives.
    studies.run("alpha=0.1,0.5", "resume=true", "hydra.sweeper.lease_seconds=0.2")
    assert studies.numbers() == [1]
    assert [t.value for t in studies.trials() if t.state == TrialState.COMPLETE] == [0.1, 0.5]


def test_budget_does_not_shrink(studies: Studies, capsys: pytest.CaptureFixture[str]) -> None:
    studies.run("alpha=interval(0,1)", "hydra.sweeper.n_trials=2")
    studies.fails("alpha=interval(0,1)", "hydra.sweeper.n_trials=1", "resume=true", code=2)
    assert "n_trials may grow on resume, not shrink: 2 before, 1 now" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["alpha=0.5,1.5", "rl.steps=0,3"], ["alpha: ", "(got 1.5)", "rl.steps: ", "(got 0)", "3 of 4 points"]),
        (["alpha=interval(0,2)", "hydra.sweeper.n_trials=3"], ["(got 2.0)", "1 of 2 points"]),
        (["actor=bai,nope"], ["Could not find 'actor/nope'", "paradigm1 paradigm2"]),
        (["alpha=interval(0,1)"], ["needs a number of trials"]),
        (["nokey=1,2"], ["nokey"]),
        (["alpha=0.1,0.5", "hydra.sweeper.objective=eval/overal"], ["got 'eval/overal'", "eval/arithmetic"]),
        (
            ["alpha=interval(0,1)", "hydra.sweeper.n_trials=2", "evaluation=none"],
            ["a sampler needs metrics that every trial has"],
        ),
    ],
)
def test_bad_point_is_refused_before_anything_is_written(
    studies: Studies, overrides: list[str], said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    studies.fails(*overrides, code=2)
    message = capsys.readouterr().err
    assert all(part in message for part in said), message
    assert studies.numbers() == []
    assert list(studies.folder.iterdir()) == []


CALLS: list[str] = []


class Handle:
    """An open study that remembers how it ended."""

    parent_run_id = None
    worker_overrides = ()

    def display(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def interrupted(self) -> None:
        CALLS.append("interrupted")


def check_study(config: TrialConfig) -> None:
    if config.alpha == 0.123:
        raise UserError("nothing there")


def open_study(_config: TrialConfig, **_: Any) -> Handle:
    return Handle()


def conclude(_handle: Handle, *, failures: dict[int, str]) -> None:
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL  # here too it would be an interruption
    CALLS.append(f"concluded, {len(failures)} failures")


@pytest.mark.parametrize(
    ("error", "code", "call"),
    [
        (None, None, "concluded, 0 failures"),
        (ValueError, 1, "concluded, 2 failures"),
        (KeyboardInterrupt, 130, "interrupted"),
    ],
)
def test_record_of_a_study_is_concluded_or_interrupted(
    studies: Studies, error: type[BaseException] | None, code: int | None, call: str
) -> None:
    def task(_trial: RunningTrial, _cfg: DictConfig) -> float:
        if error is not None:
            raise error
        return 1.0

    CALLS.clear()
    if code is None:
        studies.run("alpha=0.1,0.5", task=task, functions=__name__)
    else:
        studies.fails("alpha=0.1,0.5", task=task, functions=__name__, code=code)
    assert [call] == CALLS


def test_record_of_a_study_without_workers_is_interrupted(studies: Studies, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bai_sweep.search._study.run_workers", lambda *_, **__: None)  # all have died at their start
    CALLS.clear()
    studies.fails("alpha=0.1,0.5", functions=__name__, code=1)
    assert CALLS == ["interrupted"]


class Spy(Callback):
    """A Hydra callback that remembers its calls."""

    calls: list[str] = []  # noqa: RUF012 - Hydra makes the instance, the test reads the class

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        self.calls.append(f"start {config.hydra.job.num}")

    def on_job_end(self, config: DictConfig, job_return: Any, **_: Any) -> None:
        self.calls.append(f"end {config.hydra.job.num} {job_return.status.name}")

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        self.calls.append(f"over {config.study}")


def test_hydra_callbacks_are_called(studies: Studies) -> None:
    def task(trial: RunningTrial, _cfg: DictConfig) -> float:
        return 1.0 / trial.number

    Spy.calls.clear()
    studies.fails("alpha=0.1,0.5", f"+hydra.callbacks.spy._target_={__name__}.Spy", code=1, task=task)
    assert Spy.calls == ["start 0", "end 0 FAILED", "start 1", "end 1 COMPLETED", "over default"]


def test_an_input_that_is_not_there_is_told_before_anything_is_written(
    studies: Studies, capsys: pytest.CaptureFixture[str]
) -> None:
    studies.fails("seed=0,1", "alpha=0.123", code=2, functions=__name__)

    assert "nothing there" in capsys.readouterr().err
    assert not (studies.folder / "results").exists()
