"""PPO runs of several processes, forked from one that has imported everything and runs no thread."""

from __future__ import annotations

import json
import multiprocessing
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

import datasets  # noqa: F401 - what a run imports late is imported before the fork
import torch
import torch.distributed as dist
from peft import LoraConfig  # noqa: F401
from safetensors.torch import load_file, save_model
from torch import nn
from torch.distributed.tensor import DTensor

from bai_sweep.ppo import PPOConfig, PPOTrainer
from bai_sweep.ppo.processes import Processes
from bai_sweep.records import UserError
from tests.tiny import tiny_model, tiny_tokenizer

LIMIT = 120.0
"""Seconds after which a run hangs."""

PROMPTS = [{"prompt": " ".join("abcdefghij"[i % 7 : i % 7 + 1 + i % 3]), "answer": i} for i in range(12)]
SETTINGS: dict[str, Any] = {
    "steps": 2,
    "batch_size": 8,
    "minibatch_size": 4,
    "ppo_epochs": 2,
    "max_new_tokens": 12,
    "actor_learning_rate": 1e-3,
    "critic_learning_rate": 1e-3,
    "precision": "fp32",
    "checkpoint_steps": 0,
    "critic": None,
}


def early_words(completions: list[str], **_: Any) -> list[float]:
    """How early in the alphabet the words of each completion are, on average."""
    words = [completion.split() or ["z"] for completion in completions]
    return [sum(ord("z") - ord(word[0]) for word in some) / len(some) / 26 for some in words]


def refused_by_the_second(completions: list[str], **_: Any) -> list[float]:
    """Bad input that only one process meets."""
    if dist.is_initialized() and dist.get_rank() == 1:
        raise UserError("the judge is not there; start it")
    return [0.0] * len(completions)


REWARDS = {f.__name__: f for f in (early_words, refused_by_the_second)}


def train(place: Path, rank: int, *, settings: dict[str, Any], reward: str, resume: bool) -> dict[str, Any]:
    """One run; returns what is compared, and leaves the weights in `<place>/<rank>.safetensors`."""
    model = tiny_model(initializer_range=0.2)
    model.unused = nn.Parameter(torch.ones(3))  # without a gradient it does not decay either
    trainer = PPOTrainer(
        model,
        REWARDS[reward],
        PPOConfig(seed=3, device="cpu", **(SETTINGS | settings)),
        PROMPTS,
        tiny_tokenizer(),
    )
    passes: list[bool] = []
    trainer.networks.module.register_forward_hook(lambda *_: passes.append(torch.is_grad_enabled()))
    steps = trainer.train(resume_from_checkpoint=resume)
    zero = trainer.networks.zero
    remembered = [state["exp_avg"].numel() for state in zero.optimizer.state.values()] if zero else []
    trained = [p.numel() for p in trainer.networks.module.parameters() if p.requires_grad]
    parts = [p.to_local() if isinstance(p, DTensor) else p for p in trainer.networks.actor_parameters()]
    trainer.networks.finish()
    save_model(model, str(place / f"{rank}.safetensors"))
    return {
        "telemetry": [{"step": step.step, "metrics": dict(step.metrics)} for step in steps],
        "passes": passes.count(True),
        "held": sum(part.numel() for part in parts),
        "remembered": sum(remembered) / sum(trained),
    }


def member(rank: int, count: int, place: Path, job: dict[str, Any]) -> None:
    """One process: trains, and writes `<place>/<rank>.json`."""
    torch.set_num_threads(1)
    if count > 1:
        rendezvous = (place / "rendezvous").as_uri()
        dist.init_process_group(
            "gloo", init_method=rendezvous, rank=rank, world_size=count, timeout=timedelta(seconds=LIMIT)
        )
    try:
        if job.pop("broken"):
            Processes().gather(lambda: 1 / (1 - rank))
        result = train(place, rank, **job)
    except Exception as error:  # noqa: BLE001 - the test looks at it
        result = {"error": type(error).__name__, "message": str(error), "trace": traceback.format_exc()}
    (place / f"{rank}.json").write_text(json.dumps(result))


def run(
    count: int,
    place: Path,
    settings: dict[str, Any] | None = None,
    *,
    reward: str = "early_words",
    resume: bool = False,
    broken: bool = False,
) -> list[dict[str, Any]]:
    """What each of `count` processes has to say of a run, with its weights."""
    place.mkdir()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    job = {"settings": settings or {}, "reward": reward, "resume": resume, "broken": broken}
    processes = [context.Process(target=member, args=(rank, count, place, job)) for rank in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(LIMIT)
        process.kill()
    said = [json.loads((place / f"{rank}.json").read_text()) for rank in range(count)]
    for rank, result in enumerate(said):
        if "error" not in result:
            result["weights"] = load_file(place / f"{rank}.safetensors")
    return said
