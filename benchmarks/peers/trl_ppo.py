"""TRL 1.12's side of ppo_vs_trl.py, run by the interpreter of .peers/trl.

Its own PPOTrainer trains as it is; clocks are put around its generation and its first permutation (between which it
scores), and a callback holds it after each step until a line comes in on standard input. For each step one line
`STEP {json}` goes out.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    TrainerCallback,
)
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer


class Clock(TrainerCallback):
    """Waits for its turn before each step, and tells what the step took."""

    def __init__(self, eos: int) -> None:
        self.eos, self.marks, self.tokens = eos, [0.0], 0

    def mark(self) -> None:
        """A phase ends."""
        self.marks.append(time.perf_counter())

    def wait(self) -> None:
        """Blocks until the other side has run."""
        sys.stdin.readline()
        self.marks = [time.perf_counter()]

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Before the first step."""
        self.wait()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Reports a step; what TRL does after it counts to the next."""
        self.mark()
        phases = [b - a for a, b in zip(self.marks, self.marks[1:], strict=False)]
        named = dict(zip(("rollout", "scoring", "training"), phases, strict=True))
        print("STEP", json.dumps({"seconds": named, "tokens": self.tokens}), flush=True)
        self.wait()


def instrument(clock: Clock, eos: int) -> None:
    """Clocks around generation and before training."""
    generation, permutation, first = ppo_trainer.batch_generation, np.random.permutation, [True]

    def timed(model: Any, queries: torch.Tensor, *rest: Any) -> Any:
        first[0] = True
        made = generation(model, queries, *rest)
        clock.mark()
        ended = (made[0][:, queries.shape[1] :] == eos).int()
        before_eos = (ended.cumsum(1) - ended) == 0
        clock.tokens = int(before_eos.sum())
        return made

    def permuted(n: int) -> Any:
        if first[0]:
            clock.mark()
        first[0] = False
        return permutation(n)

    ppo_trainer.batch_generation = timed
    ppo_trainer.np = SimpleNamespace(random=SimpleNamespace(permutation=permuted))


def main() -> None:
    """Reads the workload's description (a JSON file) and trains."""
    spec: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(spec["threads"])
    tokenizer = AutoTokenizer.from_pretrained(spec["model"], padding_side="left")
    minibatches = spec["batch_size"] // spec["minibatch_size"]
    args = PPOConfig(
        output_dir=spec["output"],
        per_device_train_batch_size=spec["minibatch_size"],
        gradient_accumulation_steps=minibatches,
        num_mini_batches=minibatches,
        num_ppo_epochs=spec["ppo_epochs"],
        total_episodes=spec["steps"] * spec["batch_size"],
        local_rollout_forward_batch_size=spec["batch_size"],
        response_length=spec["max_new_tokens"],
        stop_token="eos",
        temperature=1.0,
        learning_rate=spec["learning_rate"],
        lr_scheduler_type="constant",
        kl_coef=0.02,
        bf16=spec["precision"] == "bf16",
        gradient_checkpointing=False,
        num_sample_generations=0,
        save_strategy="no",
        report_to=[],
        logging_steps=10**9,
        disable_tqdm=True,
        use_cpu=True,
    )
    policy, reference = (AutoModelForCausalLM.from_pretrained(spec["model"], dtype=torch.float32) for _ in range(2))
    reward, value = (
        AutoModelForSequenceClassification.from_pretrained(spec["reward"], num_labels=1, dtype=torch.float32)
        for _ in range(2)
    )
    clock = Clock(tokenizer.eos_token_id)
    instrument(clock, tokenizer.eos_token_id)
    trainer = PPOTrainer(
        args=args,
        processing_class=tokenizer,
        model=policy,
        ref_model=reference,
        reward_model=reward,
        value_model=value,
        train_dataset=Dataset.from_dict({"input_ids": spec["prompts"]}),
        callbacks=[clock],
    )
    # TRL gives accelerate the number of micro-batches of a whole batch, and so would take one optimizer step an
    # epoch however many minibatches there are; its documentation means one a minibatch, which is what ours takes.
    trainer.accelerator.gradient_accumulation_steps = 1
    trainer.train()


if __name__ == "__main__":
    main()
