"""A PPO step of ours against one of TRL 1.12, the last that has a PPOTrainer: rollout, scoring, training.

Both sides train the same model with the same reward model, value model, prompts, maximum response length, epochs,
minibatches, precision and number of threads, a step in turn; each step's seconds and real (unpadded) response tokens
are kept. Workloads: (a) the testbed's distilled actor on its own prompts, whose responses have many lengths; (b) a
0.8M-parameter Llama, 64 responses of 64 tokens; (c) SmolLM2-135M's shape with random weights, 8 responses of 64
tokens. Figures are seconds per 1000 response tokens, the median over the steps after the first.

Beside it: the sampler against a bare cached forward pass for each token of the same rows, and the training phase
against what matrix products alone would take.

    python benchmarks/ppo_vs_trl.py [--workloads a,b,c] [--rounds 5] [--threads 2]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "peers"))

import torch  # noqa: E402
from common import alternating, peer_python, peer_versions, report, seconds  # noqa: E402
from random_models import SMALL, SMOLLM2_135M, make_policy, make_prompts, make_reward  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache, PreTrainedModel  # noqa: E402

from bai_sweep.generation import Samples, sample  # noqa: E402
from bai_sweep.ppo import PPOConfig, PPOTrainer  # noqa: E402
from bai_sweep.ppo._prompts import encode_prompt  # noqa: E402
from bai_sweep.sources import testbed_weights  # noqa: E402
from bai_sweep.testbed import prompt_dataset  # noqa: E402

TRL = ["torch==2.13.0", "transformers==5.23.0", "trl==1.12.0"]
LEARNING_RATE = 1e-6  # small, so that lengths stay what they are over the steps
PHASES = ("rollout", "scoring", "training")
PAIRS = {"fp32": ("fp32", "fp32"), "bf16": ("bf16", "bf16")}
"""Precisions that are run side by side: ours, TRL's."""


@dataclass(frozen=True)
class Workload:
    """One model and how it is trained."""

    name: str
    text: str
    policy: Path
    reward: Path
    prompts: list[Any]
    batch_size: int
    minibatch_size: int
    max_new_tokens: int
    ppo_epochs: int = 1

    @property
    def token_ids(self) -> list[list[int]]:
        """The prompts as tokens."""
        tokenizer = AutoTokenizer.from_pretrained(self.policy)
        return [encode_prompt(prompt, tokenizer, row) for row, prompt in enumerate(self.prompts)]


def workloads(root: Path) -> dict[str, Workload]:
    """The three, with their random models written under `root`."""
    for name, shape in (("b", SMALL), ("c", SMOLLM2_135M)):
        make_policy(shape, root / name / "policy")
        make_reward(shape, root / name / "reward")
    testbed = testbed_weights()
    rows = [row["prompt"] for row in prompt_dataset(320, seed=0)]
    return {
        "a": Workload("a", "testbed, natural lengths", testbed / "distilled", testbed / "reward", rows, 32, 8, 176),
        "b": Workload(
            "b", "0.8M Llama, 64 x 64", root / "b/policy", root / "b/reward", make_prompts(350, 640, 16), 64, 64, 64
        ),
        "c": Workload(
            "c", "135M Llama, 8 x 64", root / "c/policy", root / "c/reward", make_prompts(49152, 160, 32), 8, 8, 64
        ),
    }


class Ours:
    """Our trainer in this process, a step at a time."""

    def __init__(self, load: Workload, precision: str, steps: int) -> None:
        args = PPOConfig(
            steps=steps,
            batch_size=load.batch_size,
            minibatch_size=load.minibatch_size,
            ppo_epochs=load.ppo_epochs,
            max_new_tokens=load.max_new_tokens,
            actor_learning_rate=LEARNING_RATE,
            critic_learning_rate=LEARNING_RATE,
            precision=precision,
            device="cpu",
        )
        model = AutoModelForCausalLM.from_pretrained(load.policy, dtype=torch.float32)
        trainer = PPOTrainer(
            model,
            str(load.reward),
            args,
            [{"prompt": prompt} for prompt in load.prompts],
            AutoTokenizer.from_pretrained(load.policy),
            value_model=str(load.reward),
        )
        self.steps = trainer.steps()

    def step(self) -> dict[str, Any]:
        """Seconds by phase and response tokens of the next step."""
        metrics = next(self.steps).metrics
        spent = {phase: metrics[f"seconds/{phase}"] for phase in PHASES}
        return {"seconds": spent, "tokens": round(metrics["tokens_per_second/rollout"] * spent["rollout"])}

    def close(self) -> None:
        """Frees the trainer."""
        self.steps.close()  # type: ignore[attr-defined]  # a generator


class Theirs:
    """TRL's trainer in a process of its own, a step at a time."""

    def __init__(self, python: Path, load: Workload, precision: str, steps: int, threads: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        spec = {
            "threads": threads,
            "model": str(load.policy),
            "reward": str(load.reward),
            "prompts": load.token_ids,
            "output": str(Path(self.folder.name) / "out"),
            "steps": steps + 1,
            "batch_size": load.batch_size,
            "minibatch_size": load.minibatch_size,
            "ppo_epochs": load.ppo_epochs,
            "max_new_tokens": load.max_new_tokens,
            "learning_rate": LEARNING_RATE,
            "precision": precision,
        }
        path = Path(self.folder.name) / "spec.json"
        path.write_text(json.dumps(spec))
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "HF_HUB_OFFLINE": "1",
            "TRL_EXPERIMENTAL_SILENCE": "1",
        }
        self.log = (Path(self.folder.name) / "log").open("w+")
        self.process = subprocess.Popen(
            [python, HERE / "peers" / "trl_ppo.py", path],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )

    def step(self) -> dict[str, Any]:
        """Lets it take one step.

        Raises:
            RuntimeError: It ended; the message has the last of what it wrote.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("STEP "):
                found: dict[str, Any] = json.loads(line[5:])
                return found
        self.log.seek(0)
        raise RuntimeError(f"TRL's side ended: {self.log.read()[-2000:]}")

    def close(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.wait()
        self.log.close()
        self.folder.cleanup()


@contextmanager
def closing(*sides: Ours | Theirs) -> Iterator[None]:
    """Closes both sides."""
    try:
        yield
    finally:
        for side in sides:
            side.close()


def compare(python: Path, load: Workload, pair: tuple[str, str], rounds: int, threads: int) -> dict[str, Any]:
    """Steps of both sides in turn."""
    ours, theirs = Ours(load, pair[0], rounds + 1), Theirs(python, load, pair[1], rounds + 1, threads)
    with closing(ours, theirs):
        steps = [(ours.step(), theirs.step()) for _ in range(rounds + 1)][1:]  # the first warms up
    return {"ours": summary([a for a, _ in steps]), "trl": summary([b for _, b in steps])}


def summary(steps: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over steps."""
    phases = {phase: round(median(s["seconds"][phase] for s in steps), 4) for phase in PHASES}
    totals = [sum(s["seconds"].values()) for s in steps]
    rates = [s["tokens"] / total for s, total in zip(steps, totals, strict=True)]
    return {
        "seconds per step": round(median(totals), 4),
        **phases,
        "response tokens per step": median(s["tokens"] for s in steps),
        "response tokens per second": round(median(rates), 1),
    }


def rollout_speed(load: Workload, precision: str, rounds: int) -> dict[str, float]:
    """Our sampler, and a bare cached forward pass a token over the same rows and tokens."""
    model = AutoModelForCausalLM.from_pretrained(load.policy, dtype=torch.float32).eval()
    prompts = load.token_ids[: load.batch_size]
    eos = [int(model.generation_config.eos_token_id)]

    def ours() -> Samples:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            return sample(
                model,
                prompts,
                max_new_tokens=load.max_new_tokens,
                temperature=1.0,
                eos_token_ids=eos,
                generator=torch.Generator().manual_seed(0),
            )

    drawn = ours().tokens

    def bare() -> None:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            forward_loop(model, prompts, drawn)

    bare()
    mine, floor = alternating(ours, bare, rounds)
    return {"sampler": round(mine, 4), "bare loop": round(floor, 4), "speed": round(floor / mine, 3)}


def forward_loop(model: PreTrainedModel, prompts: list[list[int]], drawn: torch.Tensor) -> None:
    """One cached forward pass for each drawn token, all rows to the longest, nothing else."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(p)) + p for p in prompts])
    cache = DynamicCache(config=model.config)
    for t in range(drawn.shape[1]):
        model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        ids = drawn[:, t : t + 1]


def training_flops(load: Workload, tokens_per_row: int) -> dict[str, float]:
    """Floating-point operations of the training phase of a step in which every row has full length.

    A weight of a layer costs 2 operations a token forward and 4 backward, for prompt and response tokens of actor and
    critic; the actor's output head only response tokens; attention's two products 4 * hidden size for each of the
    pairs of a token and one before it. Nothing that is computed again is counted.
    """
    model = AutoModelForCausalLM.from_pretrained(load.policy)
    config = model.config
    layers = sum(p.numel() for p in model.model.layers.parameters())
    rows, new = load.batch_size * load.ppo_epochs, load.max_new_tokens
    length = tokens_per_row + new
    body = 2 * 6 * layers * rows * length
    pairs = 2 * 3 * 4 * config.hidden_size * config.num_hidden_layers * rows * length * (length + 1) / 2
    head = 6 * config.hidden_size * config.vocab_size * rows * new
    return {"layers": body, "attention": pairs, "head": head, "all": body + pairs + head}


def matmul_rate(precision: str) -> float:
    """Floating-point operations a second of a product of two 2048 x 2048 matrices."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = torch.randn(2048, 2048).to(dtype), torch.randn(2048, 2048).to(dtype)
    return 2 * 2048**3 / min(seconds(lambda: a @ b) for _ in range(8))


def training_share(load: Workload, precision: str, measured: float) -> dict[str, float]:
    """The training phase against matrix products alone."""
    flops, rate = training_flops(load, len(load.token_ids[0])), matmul_rate(precision)
    return {
        "TFLOP": round(flops["all"] / 1e12, 3),
        **{f"TFLOP {part}": round(flops[part] / 1e12, 3) for part in ("layers", "attention", "head")},
        "GFLOP/s": round(flops["all"] / measured / 1e9, 1),
        "matmul GFLOP/s": round(rate / 1e9, 1),
        "share of matmul": round(flops["all"] / measured / rate, 3),
    }


def per_thousand(side: dict[str, Any]) -> float:
    """Seconds per 1000 response tokens."""
    return 1000.0 / float(side["response tokens per second"])


def measure(python: Path, load: Workload, rounds: int, threads: int) -> dict[str, Any]:
    """Everything of one workload."""
    found: dict[str, Any] = {"workload": load.text}
    for name, pair in PAIRS.items():
        found[name] = sides = compare(python, load, pair, rounds, threads)
        sides["ratio"] = round(per_thousand(sides["trl"]) / per_thousand(sides["ours"]), 2)
        sides["rollout against a bare loop"] = rollout_speed(load, pair[0], max(2, rounds // 2))
        if load.name != "a":
            sides["training against matmul"] = training_share(load, pair[0], sides["ours"]["training"])
        print(load.name, name, json.dumps(sides), file=sys.stderr, flush=True)
    found["ours bf16 against TRL fp32"] = round(
        per_thousand(found["fp32"]["trl"]) / per_thousand(found["bf16"]["ours"]), 2
    )
    return found


def table_row(name: str, ours: float, peer: float) -> dict[str, Any]:
    """One row of the page."""
    return {
        "name": name,
        "ours": round(ours, 3),
        "peer": round(peer, 3),
        "floor": None,
        "ratio": round(peer / ours, 2),
    }


def main() -> None:
    """Measures and prints the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workloads", default="a,b,c")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    python = peer_python("trl", TRL)
    with tempfile.TemporaryDirectory() as temporary:
        known = workloads(Path(temporary))
        found = {
            name: measure(python, known[name], given.rounds, given.threads) for name in given.workloads.split(",")
        }
    table = [
        table_row(
            f"PPO step ({name}, {precision})",
            per_thousand(sides[precision]["ours"]),
            per_thousand(sides[precision]["trl"]),
        )
        for name, sides in found.items()
        for precision in PAIRS
    ]
    report(
        "ppo_vs_trl",
        ours=table[0]["ours"],
        peer=table[0]["peer"],
        floor=None,
        versions=peer_versions(python, ["trl"]),
        results={
            "unit": "seconds per 1000 response tokens",
            "threads": given.threads,
            "table": table,
            "workloads": found,
        },
    )


if __name__ == "__main__":
    main()
