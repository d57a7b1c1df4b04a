"""A live model saved as it is: its dtype, its ties, and how it generates."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from bai_sweep.merging import initialise, save_model
from bai_sweep.records import MergeRecipe
from tests.tiny import tiny_model, tiny_tokenizer
from tests.unit.merging.live_helpers import bai, model_config
from tests.unit.merging.output_helpers import tensors_in

RECIPE = MergeRecipe({"base": 1.0}, {"base": "x"})


def test_an_actor_is_saved_whose_base_names_a_temperature_and_no_sampling(
    tiny_family: dict[str, Path], tmp_path: Path
) -> None:
    """As vicuna's and Llama 2's files do; transformers refuses to save such settings once they were changed."""
    stored = {"temperature": 0.9, "top_p": 0.6, "bos_token_id": 1, "eos_token_id": 2}
    base = Path(shutil.copytree(tiny_family["base"], tmp_path / "base"))
    (base / "generation_config.json").write_text(json.dumps(stored), encoding="utf-8")
    actor = initialise(model_config({**tiny_family, "base": base}), bai(0.5))
    own = actor.model.generation_config

    folder = save_model(actor.model, actor.tokenizer, actor.recipe, tmp_path / "merge")

    saved = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
    assert {key: saved[key] for key in ("temperature", "top_p", "bos_token_id")} == {
        "temperature": 0.9,
        "top_p": 0.6,
        "bos_token_id": 1,
    }
    assert saved["eos_token_id"] == own.eos_token_id
    assert actor.model.generation_config is own
    assert GenerationConfig.from_pretrained(folder).temperature == 0.9


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, None])
def test_a_saved_model_s_configuration_names_the_dtype_of_its_weights(
    tmp_path: Path, dtype: torch.dtype | None
) -> None:
    model = tiny_model(3)

    folder = save_model(model, tiny_tokenizer(), RECIPE, tmp_path / "saved", dtype=dtype)

    kind = dtype or torch.float32
    assert {tensor.dtype for tensor in tensors_in(folder).values()} == {kind}
    assert AutoModelForCausalLM.from_pretrained(folder, dtype="auto").dtype == kind
    assert model.config.dtype in (torch.float32, "float32")


def test_a_tied_head_is_stored_once_whatever_the_dtype(tmp_path: Path) -> None:
    folder = save_model(tiny_model(3), tiny_tokenizer(), RECIPE, tmp_path / "saved", dtype=torch.bfloat16)

    assert [name for name in tensors_in(folder) if "head" in name or "embed" in name] == ["model.embed_tokens.weight"]


def test_numbers_that_are_no_weights_keep_their_dtype(tmp_path: Path) -> None:
    model = tiny_model(3)
    model.register_buffer("seen", torch.tensor([16_777_217]))

    folder = save_model(model, tiny_tokenizer(), RECIPE, tmp_path / "saved", dtype=torch.bfloat16)

    seen = tensors_in(folder)["seen"]
    assert (seen.dtype, int(seen)) == (torch.int64, 16_777_217)
