"""Sizes read from headers, against the live models."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch
from planning_configs import config
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from bai_sweep import sources
from bai_sweep.config import LoRASettings, ModelConfig
from bai_sweep.planning._checkpoints import UnknownSizeError, actor_of, checkpoint_in
from bai_sweep.planning._networks import network_of, shape_of
from bai_sweep.planning._sizes import adapter_size, sizes_of
from bai_sweep.ppo.networks import ScalarModel, lora_config
from tests.tiny import WORDS, save_tiny_model, tiny_model


def _count(model: torch.nn.Module) -> tuple[int, int]:
    parameters = list(model.parameters())
    return sum(p.numel() for p in parameters), len(parameters)


def _model(family: dict[str, Path], **changes: object) -> ModelConfig:
    settings = config().model.model_dump()
    sft = {name: str(folder) for name, folder in family.items() if name != "base"}
    return ModelConfig(**{**settings, "base": str(family["base"]), "sft": sft, **changes})


def test_networks_of_ppo_have_the_parameters_of_the_live_ones() -> None:
    actor = AutoModelForCausalLM.from_pretrained(sources.testbed_weights() / "base")
    reward = AutoModelForSequenceClassification.from_pretrained(sources.testbed_weights() / "reward")

    beside = {p.role: p for p in sizes_of(config()).networks}
    loaded = {p.role: p for p in sizes_of(config("rl.critic=testbed://reward", "reward=model")).networks}

    assert _count(actor) == (beside["actor"].network.parameters, beside["actor"].network.tensors)
    assert (beside["critic"].trained, beside["critic"].trained_tensors) == _count(ScalarModel.beside(actor))
    assert (loaded["critic"].trained, loaded["critic"].trained_tensors) == _count(ScalarModel.of(reward))
    assert loaded["reward"].network.parameters == _count(reward)[0]
    assert (loaded["reward"].trained, beside["reference"].trained) == (0, 0)


def test_a_head_of_its_own_makes_the_embedding_a_table_to_look_up(tmp_path: Path) -> None:
    live = tiny_model(tie_word_embeddings=False)
    found = checkpoint_in(save_tiny_model(tmp_path, tie_word_embeddings=False))
    table = len(WORDS) * 32

    assert (found.parameters, found.tensors) == _count(live)
    assert found.head == found.embedding == table
    assert found.multiplied == found.parameters - table
    critic = found.without_head()
    assert (critic.parameters, critic.tensors) == _count(ScalarModel.beside(live))
    assert critic.multiplied == critic.parameters - table


def test_a_head_that_is_the_embedding_is_multiplied_with(tmp_path: Path) -> None:
    found = checkpoint_in(save_tiny_model(tmp_path))
    assert found.multiplied == found.parameters == _count(tiny_model())[0]


def test_a_head_that_is_stored_beside_a_tie_is_not_counted() -> None:
    shapes = {"model.embed_tokens.weight": (9, 4), "lm_head.weight": (9, 4)}
    assert network_of(shapes, {}, tied=True).parameters == 36
    assert network_of(shapes, {}, tied=False).parameters == 72


@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "v_proj"), r".*\.(gate|up)_proj"])
def test_adapters_have_the_numbers_that_peft_trains(targets: str | tuple[str, ...], tmp_path: Path) -> None:
    from peft import get_peft_model

    lora = LoRASettings(r=4, alpha=8.0, target_modules=targets)
    wrapped = get_peft_model(tiny_model(), copy.deepcopy(lora_config(lora)))
    trained = [p for p in wrapped.parameters() if p.requires_grad]

    assert adapter_size(checkpoint_in(save_tiny_model(tmp_path)), lora) == (
        sum(p.numel() for p in trained),
        len(trained),
    )


def test_with_an_adapter_reference_and_critic_share_the_actors_weights() -> None:
    sizes = sizes_of(config("rl.critic=null", "rl.lora={r: 4, alpha: 8, target_modules: all-linear}"))
    placed = {p.role: p for p in sizes.networks}
    adapter = placed["actor"].trained

    assert 0 < adapter < placed["actor"].network.parameters
    assert not placed["reference"].own
    assert not placed["critic"].own
    assert placed["critic"].trained == adapter + 128  # its head with one output


def test_probes_are_networks_too() -> None:
    roles = [p.role for p in sizes_of(config("rl.kl_to_sft=true")).networks]
    assert roles.count("probe") == 2


def test_without_rl_there_is_the_actor_alone() -> None:
    assert [p.role for p in sizes_of(config("rl=none")).networks] == ["actor"]


def test_the_rows_of_a_vocabulary_of_several_models_are_counted(tiny_family: dict[str, Path], tmp_path: Path) -> None:
    plain = actor_of(_model(tiny_family))
    grown = tmp_path / "instruct"
    live = tiny_model()
    live.resize_token_embeddings(len(WORDS) + 1)
    live.save_pretrained(grown)
    from tests.tiny import tiny_tokenizer

    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<tool>"])
    tokenizer.save_pretrained(grown)

    assert actor_of(_model(tiny_family | {"instruct": grown})).parameters == plain.parameters + 32


def test_of_models_on_the_hub_the_weights_of_one_that_is_here_tell(
    tiny_family: dict[str, Path], tmp_path: Path
) -> None:
    whole = actor_of(_model(tiny_family))
    here = shutil.copytree(tiny_family["distilled"], tmp_path / "here")
    settings = json.loads((here / "config.json").read_text())
    (here / "config.json").write_text(json.dumps(settings | {"intermediate_size": 1}))  # the weights know better
    partly = {"base": Path("nobody/base"), "instruct": Path("nobody/nothing"), "distilled": here}

    assert actor_of(_model(partly)).parameters == whole.parameters


def test_a_config_json_is_enough(tiny_family: dict[str, Path], tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.json").write_text((tiny_family["base"] / "config.json").read_text())
    hub = {"base": bare, "instruct": Path("nobody/a"), "distilled": Path("nobody/b")}

    assert actor_of(_model(hub)) == checkpoint_in(tiny_family["base"])


def test_a_model_that_is_not_here_has_no_size() -> None:
    hub = {"base": Path("nobody/a"), "instruct": Path("nobody/b"), "distilled": Path("nobody/c")}
    with pytest.raises(UnknownSizeError, match=r"^none of nobody/a, nobody/b, nobody/c is on this machine"):
        actor_of(_model(hub))


def test_a_critic_that_is_not_here_is_the_only_thing_unknown() -> None:
    sizes = sizes_of(config("rl.critic=nobody/critic"))
    assert [p.role for p in sizes.networks] == ["actor", "reference"]
    assert list(sizes.unknown) == ["critic"]
    assert not sizes.complete


def test_widths_are_read_under_the_names_that_configurations_have() -> None:
    llama = json.loads((sources.testbed_weights() / "base" / "config.json").read_text())
    shape = shape_of(llama)
    assert shape is not None
    assert (shape.layers, shape.hidden, shape.queries, shape.keys, shape.inner) == (4, 128, 128, 128, 352)

    grouped = shape_of({**llama, "num_key_value_heads": 2, "num_attention_heads": 8, "head_dim": 16})
    assert grouped is not None
    assert (grouped.queries, grouped.keys) == (128, 32)

    gpt2 = shape_of({"n_layer": 2, "n_embd": 48, "n_head": 4, "vocab_size": 99, "n_positions": 64})
    assert gpt2 is not None
    assert (gpt2.keys, gpt2.inner, gpt2.positions) == (48, 192, 64)
    assert shape_of({"model_type": "something"}) is None
