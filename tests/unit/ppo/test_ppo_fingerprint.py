"""A checkpoint is gone on from only by the run that it is of; what differs is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaForSequenceClassification

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


def adapted(*, seed: int = 1, **changes: Any) -> PeftModel:
    """A PEFT model, whose adapter PPO trains."""
    config: dict[str, Any] = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"]} | changes
    torch.manual_seed(0)
    return get_peft_model(tiny_model(seed=seed), LoraConfig(**config))


def of_models(folder: Path, *, resume: bool, model: Any, **parts: Any) -> list[dict[str, float]]:
    """A run of two steps of these models, or what goes on from it, and its telemetry."""
    args = PPOConfig(folder, seed=3, device="cpu", **SMALL)
    trainer = PPOTrainer(model, lengths, args, ROWS, tiny_tokenizer(), **parts)
    return [reproducible(record.metrics) for record in trainer.train(resume_from_checkpoint=resume)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora_alpha": 8}, r"made with: adapter.lora_alpha was 4, now 8; set them back"),
        ({"use_rslora": True}, r"made with: adapter.use_rslora was False, now True; set them back"),
    ],
)
def test_another_adapter_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    """Neither changes a shape, and the adapter's weights mean something else."""
    of_models(tmp_path, resume=False, model=adapted())
    with pytest.raises(UserError, match=message):
        of_models(tmp_path, resume=True, model=adapted(**changes))


def test_how_an_adapter_was_loaded_changes_nothing(tmp_path: Path) -> None:
    whole = of_models(tmp_path, resume=False, model=adapted())
    same = adapted(target_modules=["v_proj", "q_proj"], lora_dropout=0.1, inference_mode=True)
    same.active_peft_config.base_model_name_or_path = "elsewhere"

    assert of_models(tmp_path, resume=True, model=same) == whole


def value_model(seed: int) -> LlamaForSequenceClassification:
    """A critic of which the head alone learns."""
    config = tiny_model().config
    config.num_labels = 1
    torch.manual_seed(seed)
    model = LlamaForSequenceClassification(config)
    model.model.requires_grad_(False)
    return model.eval()


def test_another_frozen_critic_or_probe_is_refused(tmp_path: Path) -> None:
    def run(critic: int, probe: int, *, resume: bool) -> None:
        parts = {"value_model": value_model(critic), "probes": {"old": tiny_model(seed=probe)}}
        of_models(tmp_path, resume=resume, model=tiny_model(seed=1), **parts)

    run(resume=False, critic=4, probe=5)
    with pytest.raises(UserError, match=r"made with: the critic's frozen weights was '\w+', now '\w+'; set them back"):
        run(resume=True, critic=6, probe=5)
    with pytest.raises(UserError, match=r"made with: probe old was '\w+', now '\w+'; set them back"):
        run(resume=True, critic=4, probe=7)
    run(resume=True, critic=4, probe=5)
