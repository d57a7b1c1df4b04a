"""Adapters whose base says in an unusual way that its head is its embedding, and what ends their responses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bai_sweep.merging.inputs import open_members, settings_of
from tests.tiny import WORDS, save_tiny_model, tiny_tokenizer
from tests.unit.merging.output_helpers import tensors_in, write

HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
RANK, WIDTH = 2, 32


def tied_base(folder: Path) -> Path:
    return save_tiny_model(folder, dtype=torch.float32)


def with_head_beside(folder: Path) -> None:
    """As some programs save a tied model: both names, the same values."""
    tensors = load_file(folder / "model.safetensors")
    tensors[HEAD] = tensors[EMBEDDING].clone()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def with_nested_settings(folder: Path) -> None:
    """As a model of text and images: the language model's settings have the tie too."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    nested = {"model_type": "gemma3", "tie_word_embeddings": True, "text_config": config}
    (folder / "config.json").write_text(json.dumps(nested), encoding="utf-8")


def adapter(folder: Path, base: Path, module: str, rows: int) -> Path:
    """A LoRA of one module, of rank 2 and scale 2."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(1)
    factors = {
        f"base_model.model.{module}.lora_A.weight": torch.randn(RANK, WIDTH, generator=generator),
        f"base_model.model.{module}.lora_B.weight": torch.randn(rows, RANK, generator=generator),
    }
    save_file(factors, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "base_model_name_or_path": str(base), "r": RANK, "lora_alpha": 2 * RANK}
    (folder / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


@pytest.mark.parametrize("change", [with_head_beside, with_nested_settings])
def test_a_lora_of_a_tied_head_is_not_lost(tmp_path: Path, change: object) -> None:
    base = tied_base(tmp_path / "base")
    change(base)  # type: ignore[operator]
    tuned = adapter(tmp_path / "tuned", base, "lm_head", len(WORDS))

    merged = tensors_in(write({"base": base, "tuned": tuned}, tmp_path / "out"))

    embedding = load_file(base / "model.safetensors")[EMBEDDING].double()
    a, b = (load_file(tuned / "adapter_model.safetensors")[f"base_model.model.lm_head.lora_{x}.weight"] for x in "AB")
    expected = embedding + 0.5 * 2.0 * b.double() @ a.double()
    np.testing.assert_allclose(merged[HEAD].double(), expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(merged[EMBEDDING], embedding.float())
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert config["tie_word_embeddings"] is config.get("text_config", config)["tie_word_embeddings"] is False


def test_a_head_stored_beside_a_tie_does_not_untie_an_adapted_model(tmp_path: Path) -> None:
    base = tied_base(tmp_path / "base")
    with_head_beside(base)
    tuned = adapter(tmp_path / "tuned", base, "model.layers.0.self_attn.q_proj", WIDTH)

    merged = tensors_in(write({"base": base, "tuned": tuned}, tmp_path / "out"))

    assert HEAD not in merged
    np.testing.assert_array_equal(merged[EMBEDDING], load_file(base / "model.safetensors")[EMBEDDING])


def test_what_ends_the_base_s_responses_ends_those_of_an_adapter_with_a_tokenizer_of_its_own(tmp_path: Path) -> None:
    """Gemma's end of turn, say, is in its generation_config.json only, which an adapter's folder has not."""
    base, other = tied_base(tmp_path / "base"), tied_base(tmp_path / "other")
    (base / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 4]}), encoding="utf-8")
    (other / "generation_config.json").write_text(json.dumps({"eos_token_id": 2}), encoding="utf-8")
    tuned = adapter(tmp_path / "tuned", base, "model.layers.0.self_attn.q_proj", WIDTH)
    tiny_tokenizer().save_pretrained(tuned)

    out = write({"base": other, "tuned": tuned}, tmp_path / "out")

    assert json.loads((out / "generation_config.json").read_text(encoding="utf-8"))["eos_token_id"] == [2, 4]
    assert settings_of({"tuned": str(tuned)})["tuned"].config["eos_token_id"] == [2, 4]
    with open_members({"base": str(base)}) as members:
        assert members["base"].config["eos_token_id"] == 2
