"""A checkpoint is gone on from only by the run that it is of; what differs is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bai_sweep.ppo import PPOConfig, PPOTrainer
from bai_sweep.ppo._telemetry import reproducible
from bai_sweep.records import StepTelemetry, UserError
from tests.tiny import tiny_model, tiny_tokenizer

SMALL: dict[str, Any] = {
    "steps": 2,
    "batch_size": 4,
    "minibatch_size": 2,
    "max_new_tokens": 4,
    "precision": "fp32",
    "critic": None,
    "critic_warmup_steps": 0,
    "checkpoint_steps": 1,
    "checkpoint_limit": 9,
}
ROWS = [{"prompt": f"a b {letter}", "answer": number} for number, letter in enumerate("cdefgh")]


def lengths(completion_ids: list[list[int]], **_: Any) -> list[float]:
    return [float(len(ids)) for ids in completion_ids]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run of two steps."""
    place = tmp_path_factory.mktemp("run")
    resumed(place, None)
    return place


def resumed(
    folder: Path,
    resume: str | None,
    *,
    rows: list[dict[str, Any]] = ROWS,
    model: int = 1,
    seed: int = 3,
    weight: float = 1.0,
    output_dir: Path | None = None,
    **changes: Any,
) -> tuple[StepTelemetry, ...]:
    """Trains to the end; from the checkpoint in `folder` if that is asked for."""
    torch.set_num_threads(1)
    trainer = PPOTrainer(
        tiny_model(seed=model),
        lengths,
        PPOConfig(output_dir or folder, seed=seed, device="cpu", **(SMALL | changes)),
        rows,
        tiny_tokenizer(),
        reward_weights=[weight],
    )
    return trainer.train(resume_from_checkpoint=resume)


def another_answer() -> list[dict[str, Any]]:
    return [row | {"answer": row["answer"] + 1} for row in ROWS]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kl_coef": 0.5}, r"rl.kl_coef was 0.02, now 0.5; set them back, or remove .*checkpoints to start again"),
        ({"kl_coef": 0.5, "gamma": 0.9}, r"rl.gamma was 1.0, now 0.9; rl.kl_coef was 0.02, now 0.5"),
        ({"seed": 4}, r"made with: seed was 3, now 4; the prompts differ"),
        ({"weight": 2.0}, r"weight of lengths was 1.0, now 2.0"),
        ({"rows": ROWS[:5]}, r"the prompts differ from step 1 on"),
        ({"rows": another_answer()}, r"the prompts differ from step 1 on"),
        ({"model": 2}, r"reference was '\w+', now '\w+'"),
        ({"steps": 1}, r"2 steps are done, and rl.steps=1"),
        ({"lr_schedule": "cosine"}, r"rl.lr_schedule was 'constant', now 'cosine'"),
    ],
)
def test_another_run_is_refused(folder: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        resumed(folder, str(folder), output_dir=tmp_path, **changes)


@pytest.mark.parametrize("changes", [{"micro_batch_tokens": 7}, {"checkpoint_steps": 5}, {"name": "other"}, {}])
def test_how_it_is_computed_may_change(folder: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    done = resumed(folder, str(folder), output_dir=tmp_path, **changes)

    assert [record.step for record in done] == [1, 2]


def test_a_run_with_a_constant_learning_rate_may_be_made_longer(folder: Path, tmp_path: Path) -> None:
    longer = resumed(folder, str(folder), output_dir=tmp_path, steps=3)
    whole = resumed(tmp_path / "whole", None, steps=3)

    assert [reproducible(record.metrics) for record in longer] == [reproducible(record.metrics) for record in whole]
    assert len(longer) == 3
