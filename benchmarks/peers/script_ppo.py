"""The PPO of a script: trains a merged actor with TRL 1.12's PPOTrainer and saves it; run in .peers/trl.

As TRL's documentation builds it: policy, reference, reward and value model from checkpoints, prompts tokenized
beforehand. Its own log goes to <out>/history.json, with the response tokens of each step, which TRL does not count.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerBase,
)
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer


def arguments() -> argparse.Namespace:
    """What the study fixes for both sides."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("model", "reward", "prompts", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("steps", "batch-size", "minibatch-size", "epochs", "max-new-tokens"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("learning-rate", "kl-coef"):
        parser.add_argument(f"--{name}", type=float, required=True)
    return parser.parse_args()


def config(given: argparse.Namespace) -> PPOConfig:
    """TRL's settings; where it has one of ours under another name, ours.

    A batch goes through each network in one pass and each minibatch is one optimizer step: the largest passes that
    these batches allow.
    """
    return PPOConfig(
        output_dir=str(given.out),
        per_device_train_batch_size=given.batch_size,
        gradient_accumulation_steps=1,
        num_mini_batches=given.batch_size // given.minibatch_size,
        num_ppo_epochs=given.epochs,
        total_episodes=given.steps * given.batch_size,
        local_rollout_forward_batch_size=given.batch_size,
        response_length=given.max_new_tokens,
        stop_token="eos",
        temperature=1.0,
        learning_rate=given.learning_rate,
        lr_scheduler_type="constant",
        adam_beta2=0.95,
        kl_coef=given.kl_coef,
        bf16=False,
        gradient_checkpointing=False,
        num_sample_generations=0,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
    )


def prompts(path: Path, tokenizer: PreTrainedTokenizerBase) -> Dataset:
    """The conversations of a JSONL file under the chat template, as token ids."""
    rows = [json.loads(line)["prompt"] for line in path.read_text().splitlines()]
    encoded = tokenizer.apply_chat_template(rows, add_generation_prompt=True, tokenize=True, return_dict=False)
    return Dataset.from_dict({"input_ids": encoded})


def count_tokens(eos: int) -> list[int]:
    """A list that gets the response tokens of each rollout, EOS included and what pads it not."""
    generation, counts = ppo_trainer.batch_generation, []

    def counted(model: Any, queries: torch.Tensor, *rest: Any) -> Any:
        made = generation(model, queries, *rest)
        ended = (made[0][:, queries.shape[1] :] == eos).int()
        counts.append(int(((ended.cumsum(1) - ended) == 0).sum()))
        return made

    ppo_trainer.batch_generation = counted
    return counts


def main() -> None:
    """Trains and saves."""
    given = arguments()
    tokenizer = AutoTokenizer.from_pretrained(given.model, padding_side="left")
    policy, reference = (AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32) for _ in range(2))
    reward, value = (
        AutoModelForSequenceClassification.from_pretrained(given.reward, num_labels=1, dtype=torch.float32)
        for _ in range(2)
    )
    counts = count_tokens(tokenizer.eos_token_id)
    trainer = PPOTrainer(
        args=config(given),
        processing_class=tokenizer,
        model=policy,
        ref_model=reference,
        reward_model=reward,
        value_model=value,
        train_dataset=prompts(given.prompts, tokenizer),
    )
    trainer.train()
    trainer.save_model(str(given.out))
    (given.out / "history.json").write_text(json.dumps({"steps": trainer.state.log_history, "tokens": counts}))


if __name__ == "__main__":
    main()
