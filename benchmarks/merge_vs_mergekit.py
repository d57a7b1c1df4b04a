"""Merging three checkpoints at alpha 0.5: a process of ours against mergekit's, from the command to the saved folder.

The models have the shape of SmolLM2-135M, random bf16 weights, one seed each. The floor is a plain read of the input
bytes and a write of the output bytes. Both sides run with the same number of threads, in turn; the fastest run counts.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from common import alternating, peer_python, peer_versions, report, seconds
from safetensors.torch import load_file
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from bai_sweep.sources import testbed_weights

ALPHA = 0.5
ROUNDS = 3
WEIGHTS = {"base": ALPHA, "instruct": (1 - ALPHA) / 2, "distilled": (1 - ALPHA) / 2}
SHAPE = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
}
OURS = """
import sys
from pathlib import Path
from bai_sweep.config import MergedActor, ModelConfig, PPOScale
from bai_sweep.merging import initialise, save_model
root, out = Path(sys.argv[1]), Path(sys.argv[2])
scale = dict(actor_learning_rate=1, critic_learning_rate=1, steps=1, batch_size=1, minibatch_size=1, max_new_tokens=1)
model = ModelConfig(
    name="benchmark", base=str(root / "base"), sft={n: str(root / n) for n in ("instruct", "distilled")},
    reward=None, tokenizer="base", dtype="bfloat16", ppo=PPOScale(**scale),
)
actor = MergedActor(kind="merge", name="bai", alpha=0.5, weights={"instruct": 0.5, "distilled": 0.5})
merged = initialise(model, actor)
save_model(merged.model, merged.tokenizer, merged.recipe, out)
"""


def make_models(root: Path) -> None:
    """Three models of one shape with different weights."""
    tokenizer = AutoTokenizer.from_pretrained(testbed_weights() / "base")
    for seed, name in enumerate(WEIGHTS):
        torch.manual_seed(seed)
        LlamaForCausalLM(LlamaConfig(**SHAPE)).bfloat16().save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)


def recipe(root: Path) -> Path:
    """The same merge for mergekit: linear, not normalised, the arithmetic in float32."""
    models = "\n".join(
        f"  - model: {root / name}\n    parameters:\n      weight: {weight}" for name, weight in WEIGHTS.items()
    )
    path = root / "mergekit.yaml"
    path.write_text(
        f"merge_method: linear\nmodels:\n{models}\n"
        "parameters:\n  normalize: false\ndtype: float32\nout_dtype: bfloat16\n"
    )
    return path


def fresh(folder: Path) -> Path:
    """The folder, gone."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def plain_copy(root: Path) -> None:
    """Reads every input byte, writes as many as one model has."""
    data = [(root / name / "model.safetensors").read_bytes() for name in WEIGHTS]
    (root / "floor").write_bytes(data[0])


def largest_difference(root: Path) -> float:
    """Largest difference between the two outputs, in units in the last place of bf16 at the element."""
    ours, theirs = load_file(root / "ours" / "model.safetensors"), load_folder(root / "theirs")
    worst = 0.0
    for name, tensor in ours.items():
        gap = (tensor.float() - theirs[name].float()).abs()
        ulp = torch.finfo(torch.bfloat16).eps * theirs[name].float().abs().clamp_min(1e-30)
        worst = max(worst, (gap / ulp).max().item())
    return worst


def load_folder(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a folder."""
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def main() -> None:
    """Measures both sides and prints the JSON line."""
    python = peer_python("mergekit", ["torch==2.13.0", "mergekit==0.1.5"])
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        make_models(root)
        threads = str(os.cpu_count())
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1"}
        mergekit = [
            python.parent / "mergekit-yaml",
            recipe(root),
            root / "theirs",
            "--num-threads",
            threads,
            "--quiet",
        ]

        def run(command: list[str | Path], out: Path) -> None:
            fresh(out)
            subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

        ours, peer = alternating(
            lambda: run([sys.executable, "-c", OURS, root, root / "ours"], root / "ours"),
            lambda: run(mergekit, root / "theirs"),
            ROUNDS,
        )
        report(
            "merge_vs_mergekit",
            ours=ours,
            peer=peer,
            floor=min(seconds(lambda: plain_copy(root)) for _ in range(ROUNDS)),
            versions=peer_versions(python, ["mergekit"]),
            results={"largest difference, bf16 ulps": round(largest_difference(root), 2), "unit": "seconds a merge"},
        )


if __name__ == "__main__":
    main()
