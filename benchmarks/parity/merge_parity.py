"""Merges of ours and of mergekit 0.1.5 from the same models: every method that both have, element by element.

mergekit gets the mergekit.yaml that our merge wrote beside its result. Small models of odd shapes: Llama with tied
and with untied embeddings, Qwen2 with its biases; bf16, float32, both in one merge; one file, shards, a LoRA adapter.
The output is merge_mergekit.json beside this file: for each case the largest difference in units in the last place of
the output's dtype, over all elements and over those of at least a hundredth of their tensor's largest (a sum that
cancels has few of its places left); the largest difference in units of the tensor's largest value; and the share of
elements that are equal.

    python benchmarks/parity/merge_parity.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "peers")]

import torch  # noqa: E402
from common import OURS, peer_python, peer_versions, version  # noqa: E402
from random_models import make_tokenizer  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM  # noqa: E402

from bai_sweep.config import MergedActor  # noqa: E402
from bai_sweep.merging._dtypes import DTYPES  # noqa: E402
from bai_sweep.merging._plan import plan_merge  # noqa: E402
from bai_sweep.merging.inputs import open_members  # noqa: E402
from bai_sweep.merging.methods import method_of, recipe_of  # noqa: E402
from bai_sweep.merging.output import write_model  # noqa: E402

MERGEKIT = ["torch==2.13.0", "mergekit==0.1.5"]
SHAPE = {
    "vocab_size": 67,
    "hidden_size": 36,
    "intermediate_size": 59,
    "num_hidden_layers": 5,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 6,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 1,
}
BF16, F32 = torch.bfloat16, torch.float32
FAMILIES: dict[str, dict[str, Any]] = {
    "llama, tied, bf16": {"tied": True, "dtypes": (BF16, BF16, BF16), "output": "bfloat16"},
    "llama, untied, float32 and bf16": {"tied": False, "dtypes": (F32, BF16, F32), "output": "float32"},
    "qwen2, tied, bf16 and float32": {"tied": True, "dtypes": (BF16, F32, F32), "output": "bfloat16", "qwen": True},
}
NO_PARTS = {"embeddings": None, "attention": None, "mlp": None, "norms": None, "head": None}
TWO = {"one": 0.7, "two": 0.3}
CASES: dict[str, dict[str, Any]] = {
    "linear": {"alpha": 0.3, "merge": {"method": "linear"}},
    "linear, stage 1 alone": {"alpha": 0.0, "merge": {"method": "linear"}},
    "two_save": {"alpha": 0.3, "merge": {"method": "two_save", "dtype": "bfloat16"}},
    "depth, layers": {
        "alpha": 0.4,
        "merge": {"method": "depth", "layers": {"first": 0.1, "middle": 0.7, "last": 0.2}, "parts": NO_PARTS},
    },
    "depth, layers and parts": {
        "alpha": 0.4,
        "merge": {
            "method": "depth",
            "layers": {"first": 0.9, "middle": None, "last": 0.0},
            "parts": {**NO_PARTS, "attention": 0.25, "norms": 1.0, "embeddings": 0.6},
        },
    },
    "slerp": {"alpha": 0.3, "merge": {"method": "slerp"}},
    "slerp, one SFT model": {"alpha": 0.3, "weights": {"one": 1.0}, "merge": {"method": "slerp"}},
    "task_arithmetic": {"alpha": 0.3, "merge": {"method": "task_arithmetic", "scale": 1.3}},
    "ties": {"alpha": 0.3, "merge": {"method": "ties", "scale": None, "density": 0.4, "election": "weight"}},
}
DIFFERENCES = [
    "mergekit multiplies and adds in one step (addcmul, one rounding) with the two stages flattened; ours rounds the "
    "product and the sum, stage by stage, so that a live interpolation has the same bits. Both are float32.",
    "TIES: of values exactly at the trimming threshold ours keeps all and mergekit as many as fit, in the order of "
    "its sort. Task vectors between bf16 models have many equal values.",
    "slerp of a tensor that is all zeros in one model, which has no direction: ours is linear, mergekit takes the "
    "angle for a right one. There is none here.",
    "slerp: the angle is taken in float64 by ours and in float32 by mergekit.",
    "mergekit adds a LoRA adapter in the dtype of its base and rounds there; the case here has a float32 base.",
]
# all cases in one process of mergekit's: its command, called again and again
THEIR_SIDE = """
import json, sys
from mergekit.scripts.multimerge import main as multi
from mergekit.scripts.run_yaml import main as one
for job in json.load(open(sys.argv[1])):
    if job["stages"]:
        multi([job["yaml"], "--intermediate-dir", job["stages"], "--out-path", job["out"]], standalone_mode=False)
    else:
        one([job["yaml"], job["out"], "--lora-merge-cache", job["cache"]], standalone_mode=False)
"""


def write_models(root: Path, *, tied: bool, dtypes: tuple[torch.dtype, ...], qwen: bool = False) -> dict[str, Path]:
    """A base and two models near it, each in its dtype, the second in shards."""
    config, kind = (Qwen2Config, Qwen2ForCausalLM) if qwen else (LlamaConfig, LlamaForCausalLM)
    torch.manual_seed(0)
    base = kind(config(**SHAPE, tie_word_embeddings=tied))
    with torch.no_grad():
        for name, bias in base.named_parameters():
            if name.endswith("bias"):  # zeros when made, which no trained model has
                bias.normal_(std=0.1)
    places = {}
    for name, dtype, seed in zip(("base", "one", "two"), dtypes, range(3), strict=True):
        model = kind(config(**SHAPE, tie_word_embeddings=tied))
        torch.manual_seed(100 + seed)
        with torch.no_grad():
            for weight, origin in zip(model.parameters(), base.parameters(), strict=True):
                weight.copy_(origin + (0.05 * torch.randn_like(origin) if seed else 0.0))
        places[name] = root / name
        model.to(dtype).save_pretrained(root / name, max_shard_size="20KB" if name == "one" else "1GB")
        make_tokenizer(SHAPE["vocab_size"]).save_pretrained(root / name)
    return places


def write_adapter(place: Path, base: Path) -> Path:
    """A LoRA adapter on the attention of `base`, as PEFT saves one."""
    torch.manual_seed(9)
    tensors = {}
    for layer in range(SHAPE["num_hidden_layers"]):
        for name, rows in (("q_proj", 36), ("v_proj", 12)):
            stem = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            tensors[f"{stem}.lora_A.weight"] = 0.1 * torch.randn(4, 36)
            tensors[f"{stem}.lora_B.weight"] = 0.1 * torch.randn(rows, 4)
    place.mkdir()
    save_file(tensors, place / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": str(base), "r": 4}
    settings |= {"lora_alpha": 8, "lora_dropout": 0.0, "target_modules": ["q_proj", "v_proj"], "bias": "none"}
    (place / "adapter_config.json").write_text(json.dumps(settings))
    return place


def merge(places: Mapping[str, Path], case: Mapping[str, Any], out: Path, dtype: str) -> dict[str, Any]:
    """Our merge; returns what mergekit needs to do the same."""
    weights = case.get("weights", TWO)
    actor = MergedActor.model_validate({"kind": "merge", "name": "parity", **case, "weights": weights})
    sft = {name: str(place) for name, place in places.items() if name != "base" and name in weights}
    recipe = recipe_of({"base": str(places["base"])} | sft, actor)
    with open_members(recipe.sources) as members:
        tokenizer = next(iter(members))
        plan = plan_merge(members, tokenizer=tokenizer, vocabulary="union", missing_tokens="mean")
        write_model(
            plan,
            method_of(actor),
            recipe,
            out,
            dtype=DTYPES[dtype],
            max_shard_bytes=30_000,
            threads=2,
            geometry=None,
        )
    config = out / "mergekit.yaml"
    stages = str(out.with_name(out.name + "-stages")) if "\n---\n" in config.read_text() else None
    return {"yaml": str(config), "out": str(out.with_name(out.name + "-theirs")), "stages": stages}


def tensors_in(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a model folder."""
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


def ordered(tensor: torch.Tensor) -> torch.Tensor:
    """Elements as integers in their order, one apart from their neighbours in the dtype."""
    bits = tensor.view(torch.int16 if tensor.element_size() == 2 else torch.int32).long()
    return torch.where(bits < 0, -(bits & (0x7FFF if tensor.element_size() == 2 else 0x7FFFFFFF)), bits)


def compare(ours: Path, theirs: Path) -> dict[str, float]:
    """How far two model folders are apart."""
    mine, peer = tensors_in(ours), tensors_in(theirs)
    if mine.keys() != peer.keys():
        sys.exit(f"{ours.name}: different tensors: {sorted(mine.keys() ^ peer.keys())}")
    ulps, usual, apart, equal, count = 0, 0, 0.0, 0, 0
    for name, tensor in mine.items():
        other = peer[name]
        if tensor.dtype != other.dtype or tensor.shape != other.shape:
            sys.exit(f"{ours.name}: {name} is {tensor.dtype}{list(tensor.shape)}, {other.dtype}{list(other.shape)}")
        steps = (ordered(tensor) - ordered(other)).abs()
        ulps = max(ulps, int(steps.max()))
        usual = max(usual, int(steps[tensor.abs() >= 0.01 * tensor.abs().max()].max()))
        apart = max(apart, float((tensor.double() - other.double()).abs().max() / tensor.double().abs().max()))
        equal, count = equal + int((steps == 0).sum()), count + steps.numel()
    return {
        "ulps": ulps,
        "ulps, elements that did not cancel": usual,
        "of the largest value": float(f"{apart:.2g}"),
        "equal": round(equal / count, 6),
    }


def run_all(root: Path, python: Path) -> dict[str, dict[str, Any]]:
    """Every case of every family, ours and theirs."""
    jobs: dict[str, dict[str, Any]] = {}
    for number, (family, made) in enumerate(FAMILIES.items()):
        settings = {key: value for key, value in made.items() if key != "output"}
        places = write_models(root / str(number), **settings)
        cases = dict(CASES)
        if made["dtypes"][0] == F32:
            places["adapter"] = write_adapter(root / str(number) / "adapter", places["base"])
            cases["linear, an adapter"] = {**CASES["linear"], "weights": {"one": 0.5, "adapter": 0.5}}
        for index, (name, case) in enumerate(cases.items()):
            out = root / f"{number}-{index}"
            jobs[f"{name}; {family}"] = merge(places, case, out, made["output"]) | {
                "ours": str(out),
                "cache": str(root / "lora"),
                "output": made["output"],
            }
    (root / "jobs.json").write_text(json.dumps(list(jobs.values())))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    subprocess.run([python, "-c", THEIR_SIDE, root / "jobs.json"], check=True, env=environment, stdout=sys.stderr)
    return {
        name: {"output": job["output"], **compare(Path(job["ours"]), Path(job["out"]))} for name, job in jobs.items()
    }


def close(name: str, case: Mapping[str, Any]) -> bool:
    """Whether the difference is one of roundings, or for TIES one at the trimming threshold."""
    if name.startswith("ties"):
        return bool(case["equal"] >= 0.99)
    if case["output"] == "bfloat16":
        return bool(case["ulps, elements that did not cancel"] <= 1 and case["equal"] >= 0.995)
    return bool(case["of the largest value"] <= 1e-6)


def main() -> None:
    """Runs all cases, writes the output and prints it."""
    python = peer_python("mergekit", MERGEKIT)
    with tempfile.TemporaryDirectory() as temporary:
        cases = run_all(Path(temporary), python)
    versions = {**{package: version(package) for package in OURS}, **peer_versions(python, ["mergekit", "torch"])}
    output = {"versions": versions, "cases": cases, "differences": DIFFERENCES}
    (HERE / "merge_mergekit.json").write_text(json.dumps(output, indent=1) + "\n")
    print(json.dumps(cases, indent=1))
    if wrong := [name for name, case in cases.items() if not close(name, case)]:
        sys.exit("further apart than roundings explain: " + "; ".join(wrong))


if __name__ == "__main__":
    main()
