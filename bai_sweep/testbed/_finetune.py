"""Fine-tuning with TRL: the two SFT models from the base, the reward model from the instruct model."""

from __future__ import annotations

import copy
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
    PrinterCallback,
    TrainerCallback,
)
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from bai_sweep.testbed._corpora import draw_chat
from bai_sweep.testbed._preferences import draw_preference
from bai_sweep.testbed._teacher import Style

OnStep = Callable[[float], None]


@dataclass(frozen=True)
class FinetuneConfig:
    """Length, batch (chats or pairs a step) and peak rate of one fine-tuning, cosine decay."""

    steps: int
    batch: int
    lr: float


def finetune(
    base: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    style: Style,
    config: FinetuneConfig,
    *,
    seed: int,
    on_step: OnStep,
) -> LlamaForCausalLM:
    """A copy of `base` taught one style by TRL's SFTTrainer, with the loss on the answers only."""
    rng = random.Random(f"{seed}/{style}")
    chats = [draw_chat(style, rng) for _ in range(config.steps * config.batch)]
    rows = [{"prompt": chat.messages[:1], "completion": chat.messages[1:]} for chat in chats]
    model = copy.deepcopy(base)
    # Answers differ tenfold in length, so batches of like length waste far less padding.
    args = SFTConfig(**_arguments(config, seed), max_length=None, train_sampling_strategy="group_by_length")
    _train(SFTTrainer, rows, on_step, model=model, args=args, processing_class=tokenizer)
    return model


def train_reward_model(
    instruct: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    config: FinetuneConfig,
    *,
    seed: int,
    on_step: OnStep,
) -> LlamaForSequenceClassification:
    """A scalar reward model on the body of `instruct`, trained on preferences by TRL's RewardTrainer."""
    rng = random.Random(f"{seed}/reward")
    pairs = [draw_preference(rng) for _ in range(config.steps * config.batch)]
    rows = [
        {"prompt": _message("user", p.prompt), "chosen": _message("assistant", p.chosen)}
        | {"rejected": _message("assistant", p.rejected)}
        for p in pairs
    ]
    torch.manual_seed(seed)
    model_config = copy.deepcopy(instruct.config)
    model_config.num_labels = 1
    model = LlamaForSequenceClassification(model_config)  # type: ignore[no-untyped-call]
    model.model.load_state_dict(instruct.model.state_dict())
    args = RewardConfig(**_arguments(config, seed), max_length=None)
    _train(RewardTrainer, rows, on_step, model=model, args=args, processing_class=tokenizer)
    return model


def _message(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]


class _OnStep(TrainerCallback):
    """Reports each logged loss."""

    def __init__(self, on_step: OnStep) -> None:
        self._on_step = on_step

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            self._on_step(logs["loss"])


def _arguments(config: FinetuneConfig, seed: int) -> dict[str, Any]:
    """What both of TRL's trainers are told; they write nothing but the weights held in memory."""
    return {
        "output_dir": tempfile.gettempdir(),
        "max_steps": config.steps,
        "per_device_train_batch_size": config.batch,
        "learning_rate": config.lr,
        "lr_scheduler_type": "cosine",
        "warmup_steps": config.steps // 20,
        "adam_beta2": 0.95,
        "activation_checkpointing": False,
        "use_cpu": True,
        "bf16": True,
        "seed": seed,
        "save_strategy": "no",
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
    }


def _train(trainer_class: Any, rows: list[dict[str, Any]], on_step: OnStep, **options: Any) -> None:
    """Runs one TRL trainer over `rows`, in place."""
    trainer = trainer_class(train_dataset=Dataset.from_list(rows), callbacks=[_OnStep(on_step)], **options)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
