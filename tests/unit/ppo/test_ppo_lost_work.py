"""What a run has done is not lost: by a second start, by a stop that was asked for, by a change of folder."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback

from bai_sweep.ppo import DivergenceError, PPOConfig, PPOTrainer
from bai_sweep.ppo._telemetry import reproducible
from bai_sweep.ppo.checkpoints import Checkpoints
from bai_sweep.records import UserError
from tests.tiny import tiny_model, tiny_tokenizer

ROWS = [{"prompt": f"a b {letter}", "answer": [number]} for number, letter in enumerate("cdefgh")]
SMALL = {
    "steps": 3,
    "batch_size": 4,
    "minibatch_size": 2,
    "max_new_tokens": 4,
    "precision": "fp32",
    "critic": None,
    "critic_warmup_steps": 0,
    "checkpoint_steps": 1,
    "checkpoint_limit": 9,
}


def lengths(completion_ids: list[list[int]], **_: Any) -> list[float]:
    return [float(len(ids)) for ids in completion_ids]


def trainer(
    output_dir: Path | str | None,
    reward: Callable[..., Any] = lengths,
    rows: Any = ROWS,
    callbacks: Any = (),
    **changes: Any,
) -> PPOTrainer:
    args = PPOConfig(output_dir, seed=3, device="cpu", **(SMALL | changes))
    return PPOTrainer(tiny_model(seed=1), reward, args, rows, tiny_tokenizer(), callbacks=callbacks)


def steps_in(run: Path) -> list[int]:
    return Checkpoints.of(run, 9).steps()


class Stop(TrainerCallback):
    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_training_stop = state.global_step == 2


class Saved(TrainerCallback):
    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.steps.append(state.global_step)


def test_a_second_start_does_not_touch_the_first_run(tmp_path: Path) -> None:
    trainer(tmp_path / "run").train()
    trainer(tmp_path / "other", steps=1).train()

    with pytest.raises(
        UserError, match=r"has a run up to step 3; .*resume_from_checkpoint=True or another output_dir"
    ):
        trainer(tmp_path / "run").train()
    with pytest.raises(UserError, match="has a run up to step 3"):
        trainer(tmp_path / "run").train(resume_from_checkpoint=str(tmp_path / "other"))

    assert steps_in(tmp_path / "run") == [1, 2, 3]
    assert len(trainer(tmp_path / "run").train(resume_from_checkpoint=str(tmp_path / "run"))) == 3


def test_a_run_is_gone_on_from_in_the_same_object(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    next(run.steps())

    assert [record.step for record in run.train()] == [1, 2, 3]


@pytest.mark.parametrize(("every", "kept"), [(5, [2]), (0, [])])
def test_a_stop_that_is_asked_for_leaves_a_checkpoint(tmp_path: Path, every: int, kept: list[int]) -> None:
    saved = Saved()
    trainer(tmp_path, checkpoint_steps=every, callbacks=[Stop, saved]).train()

    assert steps_in(tmp_path) == saved.steps == kept


def test_a_run_that_is_done_writes_nothing_more(tmp_path: Path) -> None:
    trainer(tmp_path).train()
    before = (tmp_path / "checkpoints" / "step-00000003").stat().st_ino

    trainer(tmp_path).train(resume_from_checkpoint=True)

    assert (tmp_path / "checkpoints" / "step-00000003").stat().st_ino == before


def test_a_relative_folder_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    run = trainer("run").steps()
    next(run)
    os.chdir(tmp_path / "elsewhere")
    assert len(list(run)) == 2

    assert steps_in(tmp_path / "run") == [1, 2, 3]
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_home_is_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    trainer("~/run", steps=1).train()

    assert steps_in(tmp_path / "run") == [1]
    assert len(trainer("~/run", steps=2).train(resume_from_checkpoint="~/run")) == 2


ODD = [
    {1: "a", "b": 2},
    {(1, 2): {3: 4, "c": {5}}},
    {"day": datetime.date(2026, 1, 2), "set": {"x", "y", "z"}},
    object(),
    {None: float("nan")},
    b"\xff",
]
ODD_ROWS = [row | {"odd": odd} for row, odd in zip(ROWS, ODD, strict=True)]


def test_columns_may_hold_anything(tmp_path: Path) -> None:
    trainer(tmp_path, rows=ODD_ROWS, steps=1).train()

    again = [row | {"odd": object() if type(row["odd"]) is object else row["odd"]} for row in ODD_ROWS]
    assert len(trainer(tmp_path, rows=again, steps=2).train(resume_from_checkpoint=True)) == 2

    changed = [row | {"odd": 7} for row in ODD_ROWS]
    with pytest.raises(UserError, match="the prompts differ from step 1 on"):
        trainer(tmp_path, rows=changed, steps=3).train(resume_from_checkpoint=True)


def test_columns_of_any_kind_do_not_hide_a_divergence(tmp_path: Path) -> None:
    def nan(completion_ids: list[list[int]], **_: Any) -> list[float]:
        return [float("nan")] * len(completion_ids)

    with pytest.raises(DivergenceError, match=r"the batch is in .*divergence-step-1"):
        trainer(tmp_path, nan, ODD_ROWS).train()


def test_what_a_reward_function_changes_is_its_own(tmp_path: Path) -> None:
    def spoils(completion_ids: list[list[int]], prompts: Any, answer: list[list[int]], **_: Any) -> list[float]:
        for cell in answer:
            cell.append(99)
        return [float(len(cell)) for cell in answer]

    whole = [reproducible(record.metrics) for record in trainer(tmp_path / "whole", spoils).train()]
    assert {figures["objective/scores"] for figures in whole} == {2.0}

    parted = trainer(tmp_path / "parted", spoils)
    next(parted.steps())
    resumed = trainer(tmp_path / "parted", spoils).train(resume_from_checkpoint=True)
    assert [reproducible(record.metrics) for record in resumed] == whole
