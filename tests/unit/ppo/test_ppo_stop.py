"""Whoever listens may ask to stop: the step is kept, whatever trains, and the run goes on from it bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from bai_sweep.config import GroupSettings, PPOSettings
from bai_sweep.ppo import train
from bai_sweep.ppo._telemetry import reproducible
from bai_sweep.ppo.checkpoints import Checkpoint, Checkpoints
from bai_sweep.records import StepTelemetry
from bai_sweep.signals import StopRequested
from tests.unit.ppo.conftest import SMALL, preset

Make = Callable[..., Any]
CHANGES: dict[str, Any] = {"steps": 4, "lr_schedule": "cosine", "kl_coef": 0.1, "checkpoint_steps": 10}
NOISY = {"it": {"function": "tests.unit.ppo.rewards:noisy_share_of_a", "weight": 1.0}}

pytestmark = pytest.mark.parametrize("kind", ["ppo", "grpo"])


def settings_of(kind: str, **changes: Any) -> PPOSettings | GroupSettings:
    if kind == "ppo":
        return PPOSettings.model_validate(preset(kind) | SMALL | CHANGES | {"kl_target": 0.05} | changes)
    small = {name: value for name, value in SMALL.items() if name in GroupSettings.model_fields}
    return GroupSettings.model_validate(preset(kind) | small | {"num_generations": 4} | CHANGES | changes)


class Run:
    """A training from the start, or from what is in the folder; `heard` are the steps that the listener was told."""

    def __init__(self, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, reward: Any, folder: Path) -> None:
        self.model, self.tokenizer, self.reward, self.folder = model, tokenizer, reward, folder
        self.heard: list[StepTelemetry] = []

    def __call__(self, kind: str, fault: BaseException | None = None, at: int = 0, **changes: Any) -> Run:
        for seed in (np.random.seed, torch.manual_seed):  # as a trial does
            seed(11)

        def on_step(record: StepTelemetry) -> None:
            self.heard.append(record)
            torch.rand(3)  # a listener that draws, too, is where it was
            if record.step == at and fault is not None:
                raise fault

        train(
            self.model,
            self.tokenizer,
            settings_of(kind, **changes),
            self.reward,
            seed=3,
            device=torch.device("cpu"),
            on_step=on_step,
            folder=self.folder,
        )
        return self

    @property
    def figures(self) -> list[dict[str, float]]:
        return [reproducible(record.metrics) for record in self.heard]

    @property
    def kept(self) -> dict[int, int]:
        """The checkpoints by step, with the file that each is on the disk."""
        checkpoints = Checkpoints.of(self.folder, 1)
        return {s: (checkpoints.folder / f"step-{s:08d}" / "state.json").stat().st_ino for s in checkpoints.steps()}


@pytest.fixture
def make_run(make_model: Make, make_reward: Make, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Make:
    reward = make_reward(functions=NOISY)

    def make(folder: str = "run") -> Run:
        return Run(make_model(initializer_range=0.3), tokenizer, reward, tmp_path / folder)

    return make


def test_the_step_is_kept_and_gone_on_from(kind: str, make_run: Make) -> None:
    whole = make_run("whole")(kind)
    stopped = make_run()
    with pytest.raises(StopRequested, match="after step 2"):
        stopped(kind, StopRequested("after step 2"), at=2)
    assert [record.step for record in stopped.heard] == [1, 2]
    assert list(stopped.kept) == [2]

    resumed = make_run()(kind)

    assert len(resumed.figures) == 4
    assert resumed.figures == whole.figures
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True))


def test_a_stop_at_a_step_that_a_checkpoint_gave_back_writes_nothing(kind: str, make_run: Make) -> None:
    with pytest.raises(StopRequested):
        make_run()(kind, StopRequested(), at=2)
    before = make_run().kept

    for step in (1, 2):
        again = make_run()
        with pytest.raises(StopRequested):
            again(kind, StopRequested(), at=step)
        assert [record.step for record in again.heard] == list(range(1, step + 1))
        assert again.kept == before


@pytest.mark.parametrize(
    ("fault", "changes"),
    [
        (KeyboardInterrupt("now"), {}),
        (RuntimeError("now"), {}),
        (StopRequested("now"), {"checkpoint_steps": 0}),
    ],
    ids=["second Ctrl-C", "fault", "no checkpoints wanted"],
)
def test_nothing_is_kept(kind: str, make_run: Make, fault: BaseException, changes: dict[str, Any]) -> None:
    run = make_run()
    with pytest.raises(type(fault), match="now"):
        run(kind, fault, at=2, **changes)
    assert [record.step for record in run.heard] == [1, 2]
    assert not run.kept


@pytest.mark.parametrize("at", [2, 4], ids=["a step that is kept anyway", "the last"])
def test_what_is_kept_already_is_not_written_again(
    kind: str, at: int, make_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    save = Checkpoints.save

    def counted(self: Checkpoints, checkpoint: Checkpoint) -> bool:
        saved.append(checkpoint.step)
        return save(self, checkpoint)

    monkeypatch.setattr(Checkpoints, "save", counted)
    with pytest.raises(StopRequested):
        make_run()(kind, StopRequested(), at=at, checkpoint_steps=2)
    assert saved == list(range(2, at + 1, 2))
