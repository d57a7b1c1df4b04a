"""The disk formula against checkpoints and models that are really written."""

from __future__ import annotations

from pathlib import Path

import pytest
from planning_configs import ASSUMED, config

from bai_sweep import merging, ppo
from bai_sweep.config import GroupSettings, PPOSettings, TrialConfig
from bai_sweep.devices import device_of
from bai_sweep.planning._disk import Disk, checkpoint_bytes, disk_of
from bai_sweep.planning._items import Counted
from bai_sweep.planning._sizes import Sizes, sizes_of

SHORT = ("device=cpu", "rl.steps=2", "rl.batch_size=8", "rl.minibatch_size=8", "rl.max_new_tokens=8")
ITEMS = {"some": Counted(10, 2, True, "counted")}


def _train(trial: TrialConfig, folder: Path) -> int:
    """Trains; the bytes of the newest checkpoint."""
    assert isinstance(trial.rl, PPOSettings | GroupSettings)
    initial = merging.initialise(trial.model, trial.actor)
    ppo.train(
        initial.model,
        initial.tokenizer,
        trial.rl,
        trial.reward,
        seed=0,
        device=device_of("cpu"),
        on_step=lambda step: None,
        folder=folder,
    )
    newest = max((folder / "checkpoints").iterdir())
    return sum(file.stat().st_size for file in newest.iterdir())


@pytest.mark.parametrize(
    "overrides",
    [(), ("rl.critic=null", "rl.lora={r: 64, alpha: 8, target_modules: all-linear}"), ("rl=grpo",)],
    ids=["ppo", "lora", "grpo"],
)
def test_a_checkpoint_has_the_bytes_that_were_planned(overrides: tuple[str, ...], tmp_path: Path) -> None:
    trial = config(*SHORT, *overrides)
    assert checkpoint_bytes(trial, sizes_of(trial)) == pytest.approx(_train(trial, tmp_path), rel=0.05)


def test_a_saved_model_has_the_bytes_that_were_planned(tmp_path: Path) -> None:
    trial = config("save_merge=true", "save_actor=true")
    initial = merging.initialise(trial.model, trial.actor)
    merging.save_model(initial.model, initial.tokenizer, initial.recipe, tmp_path / "merge")
    written = sum(file.stat().st_size for file in (tmp_path / "merge").iterdir())

    disk = disk_of(trial, sizes_of(trial), {}, ASSUMED)
    assert disk is not None
    assert disk.saved == {"save_merge": pytest.approx(written, rel=0.05), "save_actor": disk.saved["save_merge"]}


def test_while_a_trial_runs_there_is_a_checkpoint_more_than_are_kept() -> None:
    trial = config("rl.checkpoint_limit=2", "save_actor=true")
    disk = disk_of(trial, sizes_of(trial), ITEMS, ASSUMED)
    assert disk is not None
    assert disk.checkpoint is not None
    assert disk.kept == 3
    assert disk.samples == 20 * 4096
    assert disk.afterwards == disk.saved["save_actor"] + disk.samples
    assert disk.while_running == 3 * disk.checkpoint + disk.afterwards


def test_without_checkpoints_or_without_rl_there_are_none() -> None:
    for overrides in (("rl.checkpoint_steps=0",), ("rl=none", "save_actor=true")):  # no actor is trained to be saved
        trial = config(*overrides)
        assert disk_of(trial, sizes_of(trial), {}, ASSUMED) == Disk(None, 0, {}, 0.0)


def test_of_an_unknown_critic_nothing_is_said_and_a_reward_model_is_not_written() -> None:
    trial = config()
    known = sizes_of(trial)
    assert disk_of(trial, Sizes(known.networks, {"critic": "absent"}), {}, ASSUMED) is None
    assert disk_of(trial, Sizes(known.networks, {"reward preference": "absent"}), {}, ASSUMED) is not None
