"""TRL 1.12's side of ppo_parity.py, run by the interpreter of .peers/trl.

Its own PPOTrainer takes one step on given responses. Its generation is replaced by them, with the logits that its own
policy gives them; its permutation by the identity, which is also where its local variables are read.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

LOCALS = (
    "advantages",
    "returns",
    "rewards",
    "values",
    "logprobs",
    "ref_logprobs",
    "scores",
    "padding_mask",
    "padding_mask_p1",
)
STATISTICS = ("pg_loss_stats", "vf_loss_stats", "approxkl_stats", "pg_clipfrac_stats", "ratio_stats")


def replace_generation(responses: torch.Tensor, temperature: float) -> None:
    """`batch_generation` then gives fixed responses with the policy's logits of them."""

    @torch.no_grad()
    def generation(model: Any, queries: torch.Tensor, _: int, pad: int, __: Any) -> tuple[torch.Tensor, torch.Tensor]:
        both = torch.cat([queries, responses], dim=1)
        logits = ppo_trainer.forward(model, both, pad).logits[:, queries.shape[1] - 1 : -1]
        return both, logits / (temperature + 1e-7)

    ppo_trainer.batch_generation = generation


def read_locals(found: dict[str, Any]) -> None:
    """The local variables of `train` before its first epoch, and its statistics."""

    def permutation(n: int) -> Any:
        local = sys._getframe(1).f_locals
        if not found:
            found.update({name: local[name].clone() for name in LOCALS})
            found.update({name: local[name] for name in STATISTICS})  # filled in later
        return torch.arange(n).numpy()

    ppo_trainer.np = SimpleNamespace(random=SimpleNamespace(permutation=permutation))


def record_gradients(optimizer: Any, model: torch.nn.Module) -> list[dict[str, torch.Tensor]]:
    """The gradients at each optimizer step."""
    seen: list[dict[str, torch.Tensor]] = []
    step = optimizer.optimizer.step

    def recorded(*args: Any, **kwargs: Any) -> Any:
        seen.append({n: p.grad.detach().clone() for n, p in model.named_parameters() if p.grad is not None})
        return step(*args, **kwargs)

    optimizer.optimizer.step = recorded
    return seen


def arguments(case: dict[str, Any], folder: Path) -> PPOConfig:
    """TRL's settings: the case's, one minibatch of the whole batch, and nothing written."""
    return PPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=len(case["prompts"]),
        gradient_accumulation_steps=1,
        num_mini_batches=1,
        num_ppo_epochs=case["ppo_epochs"],
        total_episodes=len(case["prompts"]),
        response_length=len(case["responses"][0]),
        stop_token="eos",
        temperature=case["temperature"],
        learning_rate=case["learning_rate"],
        lr_scheduler_type="constant",
        kl_coef=case["kl_coef"],
        kl_estimator=case["kl_estimator"],
        gamma=case["gamma"],
        lam=case["gae_lambda"],
        cliprange=case["clip_range"],
        cliprange_value=case["clip_range_value"],
        vf_coef=1.0,
        bf16=False,
        gradient_checkpointing=False,
        num_sample_generations=0,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
    )


def main() -> None:
    """Reads the case (a JSON file), trains, and writes what was seen beside it."""
    path = Path(sys.argv[1])
    case: dict[str, Any] = json.loads(path.read_text())
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(case["policy"], padding_side="left")
    policy, reference = (
        AutoModelForCausalLM.from_pretrained(case[name], dtype=torch.float64) for name in ("policy", "reference")
    )
    value, reward = (
        AutoModelForSequenceClassification.from_pretrained(case[name], num_labels=1, dtype=torch.float64)
        for name in ("value", "reward")
    )
    found: dict[str, Any] = {}
    read_locals(found)
    replace_generation(torch.tensor(case["responses"]), case["temperature"])
    trainer = PPOTrainer(
        args=arguments(case, path.parent / "out"),
        processing_class=tokenizer,
        model=policy,
        ref_model=reference,
        reward_model=reward,
        value_model=value,
        train_dataset=Dataset.from_dict({"input_ids": case["prompts"]}),
    )
    # The batch is the whole dataset; keep its order, which the responses follow.
    trainer.dataloader = [tokenizer.pad({"input_ids": case["prompts"]}, return_tensors="pt")]
    gradients = record_gradients(trainer.optimizer, trainer.accelerator.unwrap_model(trainer.model))
    trainer.train()
    torch.save(
        {
            **found,
            "gradients": gradients,
            "policy": policy.state_dict(),
            "value": value.state_dict(),
            "metrics": {k: v for line in trainer.state.log_history for k, v in line.items()},
        },
        path.with_suffix(".pt"),
    )


if __name__ == "__main__":
    main()
