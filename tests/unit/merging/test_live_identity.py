"""What an actor is known by later: digests of what was read and of what came out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from bai_sweep.merging import Provenance, digest_of, identified, initialise, inputs_of, release, write_actor
from bai_sweep.records import UserError
from tests.tiny import save_tiny_model, tiny_model
from tests.unit.merging.live_helpers import bai, deep, model_config


@pytest.fixture
def family(tmp_path: Path) -> Iterator[dict[str, Path]]:
    names = ("base", "instruct", "distilled")
    yield {name: save_tiny_model(tmp_path / name, seed) for seed, name in enumerate(names)}
    release()


def test_a_digest_is_of_every_bit_name_and_dtype() -> None:
    model = tiny_model(1)
    digest = digest_of(model)
    parts = (
        (name, str(p.dtype), tuple(p.shape), hashlib.sha256(p.detach().numpy().tobytes()).hexdigest())
        for name, p in sorted(model.named_parameters())
    )
    lines = "".join(f"{name} {dtype} {shape} {part}\n" for name, dtype, shape, part in parts)
    assert digest == hashlib.sha256(lines.encode()).hexdigest()

    assert digest_of(tiny_model(1)) == digest
    assert digest_of(tiny_model(1, tie_word_embeddings=False)) != digest
    assert digest_of(tiny_model(1).to(torch.bfloat16)) != digest
    with torch.no_grad():
        model.model.norm.weight.view(torch.int32)[3] ^= 1
    assert digest_of(model) != digest


def test_inputs_are_the_weights_that_are_read_and_the_settings_of_all(family: dict[str, Path]) -> None:
    found = inputs_of(model_config(family), bai(0.0))

    assert "model.safetensors" not in found["base"], "alpha=0 does not read the base"
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= found["instruct"].keys()
    weights = (family["instruct"] / "model.safetensors").read_bytes()
    assert found["instruct"]["model.safetensors"] == hashlib.sha256(weights).hexdigest()
    assert {"config.json", "tokenizer.json"} <= found["base"].keys()


def test_a_trials_recipe_has_both(family: dict[str, Path]) -> None:
    model, actor = model_config(family), bai(0.5)
    plain = initialise(model, actor)

    known = identified(plain, model, actor)

    assert known.model is plain.model
    assert known.recipe.digest == digest_of(plain.model)
    assert known.recipe.inputs == inputs_of(model, actor)
    assert known.recipe.formula() == plain.recipe.formula()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_folder_has_the_bits_of_the_actor_from_files_and_from_memory(
    dtype: str, family: dict[str, Path], tmp_path: Path
) -> None:
    """Alphas whose two ways of adding up differ in float32's last bit, on the way and deep."""
    model = model_config(family, dtype)
    for number, actor in enumerate([bai(0.3), bai(0.7, 0.1), deep(0.3, 0.1, 0.9, norms=1.0)]):
        digests = {digest_of(initialise(model, actor).model) for _ in range(2)}  # the second time stage 1 is held
        out = tmp_path / f"out{number}"

        write_actor(model, actor, out, dtype="float32", provenance=Provenance())

        loaded = AutoModelForCausalLM.from_pretrained(out, dtype=getattr(torch, dtype))
        assert {digest_of(loaded)} == digests


def test_what_does_not_accept_a_folder_leaves_none(family: dict[str, Path], tmp_path: Path) -> None:
    def refuse(partial: Path) -> dict[str, object]:
        assert (partial / "model.safetensors").is_file()
        assert (partial / "tokenizer.json").is_file()
        raise UserError("it is not what it was")

    out = tmp_path / "made" / "out"
    with pytest.raises(UserError, match="it is not what it was; nothing was left"):
        write_actor(model_config(family), bai(0.5), out, dtype="float32", provenance=Provenance(accept=refuse))

    assert list(out.parent.iterdir()) == []
