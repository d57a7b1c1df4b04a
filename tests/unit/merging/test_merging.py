"""Merges against an independent float64 computation over the same files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from bai_sweep.config import SFTActor
from bai_sweep.merging import initialise, recipe_of, save_model
from bai_sweep.records import UserError
from tests.tiny import save_tiny_model
from tests.unit.merging.live_helpers import bai, model_config


def reference(family: dict[str, Path], alpha: float, instruct: float) -> dict[str, np.ndarray]:
    """The paper's two stages, one after the other, in float64."""
    tensors = {
        name: {k: v.double().numpy() for k, v in load_file(folder / "model.safetensors").items()}
        for name, folder in family.items()
    }
    stage1 = {k: instruct * tensors["instruct"][k] + (1 - instruct) * tensors["distilled"][k] for k in tensors["base"]}
    return {k: alpha * tensors["base"][k] + (1 - alpha) * stage1[k] for k in stage1}


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_a_live_merge_equals_both_stages_in_float64(tiny_family: dict[str, Path], alpha: float) -> None:
    actor = initialise(model_config(tiny_family), bai(alpha, instruct=0.3))

    state = actor.model.state_dict()
    for name, expected in reference(tiny_family, alpha, 0.3).items():
        np.testing.assert_allclose(state[name].numpy(), expected, rtol=0, atol=1e-7, err_msg=name)


def test_a_bfloat16_merge_is_rounded_once(tiny_family: dict[str, Path]) -> None:
    # round decimals such as 0.37 make exact ties, which no precision decides
    alpha = 0.3713907
    actor = initialise(model_config(tiny_family, dtype="bfloat16"), bai(alpha))

    state = actor.model.state_dict()
    for name, expected in reference(tiny_family, alpha, 0.5).items():
        rounded = torch.from_numpy(expected).to(torch.bfloat16)
        assert state[name].dtype == torch.bfloat16
        off = (state[name] != rounded).double().mean().item()
        assert off <= 1e-3, f"{name}: {off:.2%} of the elements are not the rounded float64 value"


def test_tied_embeddings_stay_tied(tiny_family: dict[str, Path]) -> None:
    model = initialise(model_config(tiny_family), bai(0.5)).model

    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_the_recipe_flattens_both_stages(tiny_family: dict[str, Path]) -> None:
    recipe = recipe_of({name: str(folder) for name, folder in tiny_family.items()}, bai(0.2, instruct=0.25))

    assert recipe.weights == pytest.approx({"base": 0.2, "instruct": 0.2, "distilled": 0.6})
    assert recipe.formula() == "0.2*base + 0.2*instruct + 0.6*distilled"
    assert sum(recipe.weights.values()) == pytest.approx(1.0)


def test_a_checkpoint_of_weight_zero_is_not_read(tiny_family: dict[str, Path], tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base")
    (base / "model.safetensors").unlink()

    actor = initialise(model_config(tiny_family, base=str(base)), bai(0.0))

    assert set(actor.recipe.weights) == {"instruct", "distilled"}


def test_a_paradigm_takes_the_sft_model_bit_for_bit(tiny_family: dict[str, Path]) -> None:
    actor = initialise(model_config(tiny_family), SFTActor(kind="sft", name="paradigm3", sft="distilled"))

    stored = load_file(tiny_family["distilled"] / "model.safetensors")
    assert all(torch.equal(actor.model.state_dict()[name], tensor.float()) for name, tensor in stored.items())
    assert actor.recipe.formula() == "1*distilled"


def test_sharded_and_whole_checkpoints_merge_alike(tiny_family: dict[str, Path], tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_family["instruct"])
    model.save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
    AutoTokenizer.from_pretrained(tiny_family["instruct"]).save_pretrained(tmp_path / "sharded")
    assert (tmp_path / "sharded" / "model.safetensors.index.json").is_file()

    whole = initialise(model_config(tiny_family), bai(0.4)).model.state_dict()
    sharded = initialise(model_config({**tiny_family, "instruct": tmp_path / "sharded"}), bai(0.4)).model.state_dict()

    assert all(torch.equal(whole[name], sharded[name]) for name in whole)


def test_checkpoints_that_do_not_fit_are_refused_with_every_fault(
    tiny_family: dict[str, Path], tmp_path: Path
) -> None:
    other = save_tiny_model(tmp_path / "other", intermediate_size=48, num_hidden_layers=3)

    with pytest.raises(UserError) as caught:
        initialise(model_config({**tiny_family, "distilled": other}), bai(0.5))

    message = str(caught.value)
    assert "model.layers.0.mlp.up_proj.weight: [64, 32] in base, [48, 32] in distilled" in message
    assert "model.layers.2.self_attn.q_proj.weight: in distilled, not in base" in message


def test_a_head_of_its_own_merges_with_tied_ones(tiny_family: dict[str, Path], tmp_path: Path) -> None:
    untied = save_tiny_model(tmp_path / "untied", seed=9, tie_word_embeddings=False)

    model = initialise(model_config({**tiny_family, "distilled": untied}), bai(0.5)).model

    base, instruct, distilled = (
        load_file(folder / "model.safetensors") for folder in (tiny_family["base"], tiny_family["instruct"], untied)
    )
    embedding = "model.embed_tokens.weight"
    head = 0.5 * base[embedding].double() + 0.25 * instruct[embedding].double()
    head += 0.25 * distilled["lm_head.weight"].double()
    torch.testing.assert_close(model.get_output_embeddings().weight.double(), head, rtol=0, atol=1e-7)
    assert not torch.equal(model.get_output_embeddings().weight, model.get_input_embeddings().weight)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 1.0])
def test_every_members_end_of_sequence_ends_a_response(
    tiny_family: dict[str, Path], tmp_path: Path, alpha: float
) -> None:
    instruct = save_tiny_model(tmp_path / "instruct", eos_token_id=[30, 2])

    actor = initialise(model_config({**tiny_family, "instruct": instruct}), bai(alpha))

    assert actor.model.generation_config.eos_token_id == [2, 30]


def test_what_old_checkpoints_hold_besides_parameters_is_passed_over(
    tiny_family: dict[str, Path], tmp_path: Path
) -> None:
    old = save_tiny_model(tmp_path / "old", seed=1)
    tensors = load_file(old / "model.safetensors")
    buffer = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    save_file({**tensors, **buffer}, old / "model.safetensors", metadata={"format": "pt"})
    save_file({"tok_embeddings.weight": torch.ones(2)}, old / "consolidated.safetensors")

    merged = initialise(model_config({**tiny_family, "instruct": old}), bai(0.5)).model.state_dict()

    expected = initialise(model_config(tiny_family), bai(0.5)).model.state_dict()
    assert all(torch.equal(merged[name], expected[name]) for name in expected)


def test_pickled_weights_are_refused(tiny_family: dict[str, Path], tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")

    with pytest.raises(UserError, match=r"read from \*.safetensors; a pickle"):
        initialise(model_config({**tiny_family, "distilled": folder}), bai(0.5))


def test_a_saved_merge_loads_in_transformers_and_says_what_it_is(tiny_family: dict[str, Path], tmp_path: Path) -> None:
    actor = initialise(model_config(tiny_family), bai(0.5))

    folder = save_model(actor.model, actor.tokenizer, actor.recipe, tmp_path / "merge", dtype=torch.bfloat16)

    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    state = actor.model.state_dict()
    assert all(torch.equal(tensor, state[name].bfloat16()) for name, tensor in loaded.state_dict().items())
    assert AutoTokenizer.from_pretrained(folder).chat_template == actor.tokenizer.chat_template
    manifest = json.loads((folder / "merge.json").read_text())
    assert manifest["weights"] == pytest.approx({"base": 0.5, "instruct": 0.25, "distilled": 0.25})
    assert manifest["trained"] is None
    with pytest.raises(UserError, match="nothing is overwritten"):
        save_model(actor.model, actor.tokenizer, actor.recipe, folder)
