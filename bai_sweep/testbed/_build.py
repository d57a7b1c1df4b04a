"""Builds the whole family from a seed: base, then both SFT models, then the reward model."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bai_sweep.testbed._benchmarks import arena_items
from bai_sweep.testbed._finetune import FinetuneConfig, finetune, train_reward_model
from bai_sweep.testbed._pretrain import PretrainConfig, pretrain
from bai_sweep.testbed._progress import Progress
from bai_sweep.testbed._sampling import load, sample
from bai_sweep.testbed._tokenizer import make_tokenizer
from bai_sweep.testbed._weights import BASELINE, MODELS, weights_dir

ARENA_TOKENS = 200


BASE = PretrainConfig()
INSTRUCT = FinetuneConfig(steps=120, batch=64, lr=6e-4)
DISTILLED = FinetuneConfig(steps=220, batch=32, lr=1e-3)
REWARD = FinetuneConfig(steps=160, batch=16, lr=4e-4)


@dataclass(frozen=True)
class BuildConfig:
    """The recipe of all four models."""

    base: PretrainConfig = BASE
    instruct: FinetuneConfig = INSTRUCT
    distilled: FinetuneConfig = DISTILLED
    reward: FinetuneConfig = REWARD

    def scaled(self, scale: float) -> BuildConfig:
        """The same recipe with every number of steps multiplied by `scale`.

        Raises:
            ValueError: If `scale` is not positive.
        """
        if scale <= 0:
            raise ValueError(f"scale must be positive, got {scale}; 1.0 is the whole recipe.")

        def steps(n: int) -> int:
            return max(1, round(n * scale))

        return BuildConfig(
            base=replace(self.base, steps=steps(self.base.steps), warmup=steps(self.base.warmup)),
            instruct=replace(self.instruct, steps=steps(self.instruct.steps)),
            distilled=replace(self.distilled, steps=steps(self.distilled.steps)),
            reward=replace(self.reward, steps=steps(self.reward.steps)),
        )


def build(out: Path | None = None, seed: int = 0, scale: float = 1.0) -> Path:
    """Trains the family and puts it at `out`, replacing what is there only once the new one is complete.

    Args:
        out: The family's folder; by default that of the shipped weights.
        seed: Seed of initialisation, data and order. The same seed and machine give the same weights.
        scale: Multiplies every number of steps; 1.0 is the whole recipe.

    Returns:
        `out`.
    """
    out = out or weights_dir()
    config = BuildConfig().scaled(scale)
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        train_family(scratch, config, seed)
        put_in_place(scratch, out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return out


def train_family(out: Path, config: BuildConfig, seed: int) -> None:
    """Trains and saves the four models under `out`."""
    tokenizer = make_tokenizer()
    with Progress({name: getattr(config, name).steps for name in MODELS}) as progress:

        def told(name: str) -> dict[str, Any]:
            return {"seed": seed, "on_step": progress.stage(name)}

        base = pretrain(tokenizer, config.base, **told("base"))
        instruct = finetune(base, tokenizer, "instruct", config.instruct, **told("instruct"))
        distilled = finetune(base, tokenizer, "distilled", config.distilled, **told("distilled"))
        reward = train_reward_model(instruct, tokenizer, config.reward, **told("reward"))
    for name, model in zip(MODELS, (base, instruct, distilled, reward), strict=True):
        save(model, tokenizer, out / name)
    record_baseline(out, tokenizer)


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Writes a standard Hugging Face folder in bf16, readable by everyone."""
    torch.nn.Module.to(model, torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)


def record_baseline(out: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """Writes the instruct model's answers to the arena, against which all others are judged."""
    questions = [item["question"] for item in arena_items()]
    answers = sample(load(out / "instruct"), tokenizer, questions, ARENA_TOKENS, temperature=0.0).texts
    (out / BASELINE).write_text(json.dumps(answers, indent=1) + "\n")


def put_in_place(new: Path, out: Path) -> None:
    """Moves the finished `new` to `out`; whoever reads `out` meanwhile finds a whole family, old or new."""
    new.chmod(0o755)
    old = new.with_name(f"{new.name}-old")
    if out.exists():
        out.rename(old)
    new.rename(out)
    shutil.rmtree(old, ignore_errors=True)
