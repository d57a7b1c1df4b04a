"""A small PPO run that is ended again and again: `python -m tests.integration.ppo.resumable '[<job as JSON>, ...]'`.

This process imports everything once and forks an attempt at a run at a time, so that an attempt costs no imports. It
stays without threads itself. It prints for every job how many attempts were ended.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets  # noqa: F401 - what the run imports late is imported before the fork
import numpy as np
import torch

from bai_sweep.ppo import PPOConfig, PPOTrainer
from tests.tiny import tiny_model, tiny_tokenizer

INTERRUPTED = 3
"""Exit status of an attempt that got Ctrl-C or SIGTERM."""


def noisy_share_of_a(completions: list[str], **_: Any) -> list[float]:
    """The share of the word `a`, and noise from every generator that a process has.

    Normal numbers are made in pairs: an odd number of them leaves one in the generator.
    """
    noise = [random.gauss(0, 0.1) + np.random.normal(0, 0.1) for _ in range(len(completions) + 1)]  # noqa: NPY002
    noise = [noise[-1] + n + 0.1 * float(torch.rand(())) for n in noise[:-1]]
    words = [completion.split() for completion in completions]
    return [w.count("a") / max(1, len(w)) + n for w, n in zip(words, noise, strict=True)]


def run(folder: Path, *, dtype: str = "float32", **changes: Any) -> list[dict[str, Any]]:
    """Trains, from the newest checkpoint in `folder`; returns the telemetry as JSON has it."""
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(11)
    settings: dict[str, Any] = {
        "steps": 6,
        "batch_size": 4,
        "minibatch_size": 2,
        "ppo_epochs": 2,
        "max_new_tokens": 12,
        "actor_learning_rate": 1e-3,
        "critic_learning_rate": 1e-3,
        "lr_schedule": "cosine",
        "critic_warmup_steps": 2,
        "kl_coef": 0.1,
        "kl_target": 0.05,
        "kl_horizon": 50,
        "precision": "fp32",
        "checkpoint_steps": 1,
        "checkpoint_limit": 1,
        "critic": None,
    }
    prompts = [{"prompt": " ".join("abcdefghijk"[i % 5 : i % 5 + 1 + i % 4])} for i in range(9)]
    trainer = PPOTrainer(
        tiny_model(seed=1, initializer_range=0.1).to(getattr(torch, dtype)),
        noisy_share_of_a,
        PPOConfig(folder, seed=5, device="cpu", **(settings | changes)),
        prompts,
        tiny_tokenizer(),
    )
    return [{"step": t.step, "metrics": dict(t.metrics)} for t in trainer.train(resume_from_checkpoint=True)]


def attempt(job: dict[str, Any], before: Callable[[], None]) -> int:
    """Forks one attempt, which leaves its telemetry in `<folder>/telemetry.json`; returns its process id."""
    if pid := os.fork():
        return pid
    status = 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as the product does
    try:
        before()
        telemetry = run(Path(job["folder"]), **job["settings"])
        partial = Path(job["folder"], "telemetry.partial")
        partial.write_text(json.dumps(telemetry))
        partial.rename(Path(job["folder"], "telemetry.json"))
        status = 0
    except KeyboardInterrupt:
        status = INTERRUPTED
    finally:
        os._exit(status)


def ended_by(pid: int) -> int:
    """Waits for a process; returns the signal that ended it, 0 for none."""
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status not in {0, INTERRUPTED, -signal.SIGKILL}:
        raise RuntimeError(f"an attempt failed with status {status}")
    return {0: 0, INTERRUPTED: signal.SIGINT}.get(status, signal.SIGKILL)


def die_at(number: int, folder: Path) -> Callable[[], None]:
    """Lets this process kill itself just before it touches the folder for the `number`-th time."""
    left = number

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        touched = event in {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"}
        if touched and str(folder / "checkpoints") in str(arguments[0]):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    return lambda: sys.addaudithook(hook)


def killed_at_every_touch(job: dict[str, Any]) -> int:
    """The n-th attempt dies at the n-th touch of a file, until one lives; what it left is what the next one finds."""
    number = job["first"]
    while ended_by(attempt(job, die_at(number, Path(job["folder"])))):
        number += job["stride"]
    return (number - job["first"]) // job["stride"]


def killed_at_random(job: dict[str, Any]) -> int:
    """Ends `kills` attempts from outside, each after a random part of `seconds`; then none.

    Where an attempt came to its end before, the next one begins anew.
    """
    chance, ended = random.Random(job["seed"]), 0
    while ended < job["kills"]:
        pid = attempt(job, lambda: None)
        time.sleep(chance.uniform(0.0, job["seconds"]))
        os.kill(pid, chance.choice([signal.SIGKILL, signal.SIGINT, signal.SIGTERM]))
        if ended_by(pid):
            ended += 1
        else:
            shutil.rmtree(job["folder"])
    undisturbed(job)
    return ended


def main() -> None:
    """Runs the jobs."""
    torch.set_num_threads(1)
    ways = {"random": killed_at_random, "touch": killed_at_every_touch, "never": undisturbed}
    print(json.dumps([ways[job["how"]](job) for job in json.loads(sys.argv[1])]))


def undisturbed(job: dict[str, Any]) -> int:
    """One attempt, which nobody ends."""
    return ended_by(attempt(job, lambda: None))


if __name__ == "__main__":
    main()
