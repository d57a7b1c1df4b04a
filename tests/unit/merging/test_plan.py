"""A merge's plan, from folders that transformers and its tokenizers saved."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from bai_sweep.merging._plan import MergePlan, plan_merge
from bai_sweep.merging._types import Member
from bai_sweep.merging.inputs import Settings, open_members
from bai_sweep.records import UserError
from tests.tiny import WORDS, save_tiny_model, tiny_model
from tests.unit.merging.plan_helpers import member
from tests.unit.merging.vocabulary_helpers import EMBEDDING, whole

HEAD = "lm_head.weight"


def unread(folder: Path) -> Settings:
    return Settings(str(folder), folder, json.loads((folder / "config.json").read_text(encoding="utf-8")))


def planned(
    folders: Mapping[str, Path],
    *,
    read: tuple[str, ...] | None = None,
    tokenizer: str = "base",
    vocabulary: Literal["union", "tokenizer"] = "union",
    missing_tokens: Literal["mean", "zero", "refuse"] = "mean",
    members: Mapping[str, Member] | None = None,
) -> MergePlan:
    found = members or {name: member(name, folders[name]) for name in read or folders}
    models = {name: found.get(name) or unread(folder) for name, folder in folders.items()}
    return plan_merge(models, tokenizer=tokenizer, vocabulary=vocabulary, missing_tokens=missing_tokens)


def tuned(base: Path, folder: Path, *tokens: str, pad: int | None = None, noise: float = 1e-3) -> Path:
    """The base with tokens added as people add them, and its weights moved a little."""
    model = AutoModelForCausalLM.from_pretrained(base)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_special_tokens({"additional_special_tokens": list(tokens)})
    torch.manual_seed(len(tokens))
    model.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=pad, mean_resizing=False)
    with torch.no_grad():
        for values in model.parameters():
            values.add_(noise * torch.randn_like(values))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_models_of_one_shape_are_planned_in_the_order_of_the_files(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base", dtype=torch.float32)
    folders = {"base": base, "one": tuned(base, tmp_path / "one")}
    members = {name: member(name, folder) for name, folder in folders.items()}

    plan = planned(folders, members=members)

    assert [info.name for info in plan.tensors] == list(members["base"].tensors.specs)
    assert plan.tied
    assert HEAD not in {info.name for info in plan.tensors}
    assert plan.values == {name: one.tensors for name, one in members.items()}
    assert plan.doubts == ()
    assert plan.config == {**members["base"].config, "vocab_size": len(WORDS), "tie_word_embeddings": True}
    depth = {info.name: (info.part, info.depth) for info in plan.tensors}
    assert depth["model.layers.1.mlp.up_proj.weight"] == ("mlp", 1.0)
    assert depth["model.layers.0.self_attn.q_proj.weight"] == ("attention", 0.0)
    assert depth[EMBEDDING] == ("embeddings", None)


@pytest.mark.parametrize("tokenizer", ["base", "one", "two"])
def test_rows_are_those_that_the_tokenizers_give_the_tokens(tmp_path: Path, tokenizer: str) -> None:
    base = save_tiny_model(tmp_path / "base", dtype=torch.float32)
    folders = {
        "base": base,
        "one": tuned(base, tmp_path / "one", "<tool>", "<end_tool>"),
        "two": tuned(base, tmp_path / "two", "<extra>", "<end_tool>", "<tool>", pad=64),
    }

    plan = planned(folders, tokenizer=tokenizer)

    merged = AutoTokenizer.from_pretrained(folders[tokenizer])
    for entry in plan.vocabulary.added:
        merged.add_tokens(entry.token)
        assert merged.convert_tokens_to_ids(entry.token) == entry.id
    assert {i.shape for i in plan.tensors if i.name == EMBEDDING} == {(plan.vocabulary.rows, 32)}
    tables = {n: AutoModelForCausalLM.from_pretrained(f).get_input_embeddings().weight for n, f in folders.items()}
    tokenizers = {n: AutoTokenizer.from_pretrained(folder) for n, folder in folders.items()}
    for name in folders:
        found = whole(plan.values[name], EMBEDDING)
        assert found.shape[0] == plan.vocabulary.rows == plan.config["vocab_size"]
        for token, token_id in merged.get_vocab().items():
            have = [
                tables[n][t.convert_tokens_to_ids(token)].detach().numpy()
                for n, t in tokenizers.items()
                if token in t.get_vocab() and (n == name or token not in tokenizers[name].get_vocab())
            ]
            expected = np.mean(np.array(have, dtype=np.float64), axis=0)
            np.testing.assert_allclose(found[token_id], expected, rtol=1e-6, atol=1e-8, err_msg=f"{name} {token}")


def test_a_merge_of_extended_vocabularies_loads_and_says_what_the_rows_say(tmp_path: Path) -> None:
    """The plan's rows, averaged by hand and put into a model of its configuration."""
    base = save_tiny_model(tmp_path / "base", dtype=torch.float32)
    folders = {"base": base, "one": tuned(base, tmp_path / "one", "<tool>")}
    plan = planned(folders)

    state = {
        info.name: torch.from_numpy((whole(plan.values["base"], info.name) + whole(plan.values["one"], info.name)) / 2)
        for info in plan.tensors
    }
    model = LlamaForCausalLM(LlamaConfig(**plan.config))
    missing, unexpected = model.load_state_dict(state, strict=False)

    assert (missing, unexpected) == ([HEAD], [])
    assert model.get_input_embeddings().weight.shape[0] == len(WORDS) + 1
    assert model.generate(torch.tensor([[1, 5, len(WORDS)]]), max_new_tokens=3, do_sample=False).shape[1] > 3


def test_a_head_of_its_own_in_one_member_unties_the_merge(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base", dtype=torch.float32)
    untied = tmp_path / "untied"
    model = tiny_model(0, tie_word_embeddings=False)
    with torch.no_grad():
        model.lm_head.weight.normal_()
    model.save_pretrained(untied)
    AutoTokenizer.from_pretrained(base).save_pretrained(untied)

    plan = planned({"base": base, "untied": untied})

    assert not plan.tied
    assert plan.config["tie_word_embeddings"] is False
    np.testing.assert_array_equal(whole(plan.values["base"], HEAD), whole(plan.values["base"], EMBEDDING))
    np.testing.assert_array_equal(whole(plan.values["untied"], HEAD), model.lm_head.weight.detach().numpy())
    assert plan.tensors[[info.name for info in plan.tensors].index(HEAD)].part == "head"
    assert any(
        doubt.startswith("the models differ in tie_word_embeddings: True in base, False in untied")
        for doubt in plan.doubts
    )


def test_a_tied_members_head_is_aligned_with_its_embedding(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base", dtype=torch.float32)
    untied = save_tiny_model(tmp_path / "raw", dtype=torch.float32, tie_word_embeddings=False)
    one = tuned(untied, tmp_path / "one", "<tool>")

    plan = planned({"base": base, "one": one})

    head = whole(plan.values["base"], HEAD)
    assert head.shape == (len(WORDS) + 1, 32)
    np.testing.assert_array_equal(head[-1], whole(plan.values["one"], HEAD)[-1])
    assert not np.array_equal(head[-1], whole(plan.values["base"], EMBEDDING)[-1])


def test_a_model_of_weight_zero_gives_its_tokens_and_is_doubted(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base", dtype=torch.float32)
    folders = {"base": base, "one": tuned(base, tmp_path / "one", "<tool>")}
    (folders["one"] / "model.safetensors").unlink()

    plan = planned(folders, read=("base",), tokenizer="one")

    (doubt,) = plan.doubts
    assert doubt.startswith("1 tokens of the result are in no model that is read ('<tool>')")
    rows = whole(plan.values["base"], EMBEDDING)
    mean = whole(plan.values["base"], EMBEDDING)[:-1].astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(rows[-1], mean, rtol=1e-6)
    assert plan.config["vocab_size"] == len(WORDS) + 1


def test_missing_tokens_refused_stop_the_plan(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base")
    folders = {"base": base, "one": tuned(base, tmp_path / "one", "<tool>")}

    with pytest.raises(UserError, match="base lacks 1 tokens: '<tool>'"):
        planned(folders, missing_tokens="refuse")
    assert planned(folders, vocabulary="tokenizer", missing_tokens="refuse").vocabulary.rows == len(WORDS)


def test_doubts_are_kept(tmp_path: Path) -> None:
    folders = {
        "base": save_tiny_model(tmp_path / "base", seed=0),
        "other": save_tiny_model(tmp_path / "other", seed=1),
    }
    members = {
        "base": member("base", folders["base"], rope_parameters={"rope_theta": 10000.0, "rope_type": "default"}),
        "other": member("other", folders["other"], rope_parameters={"rope_theta": 1000000.0, "rope_type": "default"}),
    }

    plan = planned(folders, members=members)

    assert len(plan.doubts) == 2
    assert plan.doubts[0] == "the models differ in rope_theta: 10000.0 in base, 1000000.0 in other"
    assert "other and base do not seem to come of one base" in plan.doubts[1]


def test_nothing_is_read_of_models_that_do_not_fit(tmp_path: Path) -> None:
    folders = {"base": save_tiny_model(tmp_path / "base"), "other": save_tiny_model(tmp_path / "o", hidden_size=64)}
    members = {name: member(name, folder) for name, folder in folders.items()}

    with pytest.raises(UserError, match="hidden_size: 32 in base, 64 in other"):
        planned(folders, members=members)

    held: list[Any] = [one.tensors for one in members.values()]
    assert [one.reads for one in held] == [0, 0]


def test_a_nested_configuration_gets_the_vocabulary_where_it_keeps_it(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base")
    one = tuned(base, tmp_path / "one", "<tool>")
    stored = json.loads((base / "config.json").read_text())
    nested = {"text_config": {**stored, "vocab_size": len(WORDS)}, "vocab_size": "left out"}
    members = {"base": member("base", base, **nested), "one": member("one", one)}

    plan = planned({"base": base, "one": one}, members=members)

    assert plan.config["text_config"]["vocab_size"] == len(WORDS) + 1
    assert "vocab_size" not in plan.config
    assert members["base"].config["text_config"]["vocab_size"] == len(WORDS)


def test_files_that_are_read_in_pieces_give_the_same_rows_as_tensors_in_memory(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base")
    folders = {"base": base, "one": tuned(base, tmp_path / "one", "<tool>", "<more>")}
    (tmp_path / "sharded").mkdir()
    AutoModelForCausalLM.from_pretrained(folders["one"]).save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
    AutoTokenizer.from_pretrained(folders["one"]).save_pretrained(tmp_path / "sharded")
    folders["sharded"] = tmp_path / "sharded"
    held = planned({name: folders[name] for name in ("base", "one")})

    with open_members({"base": str(base), "one": str(folders["sharded"])}) as members:
        plan = planned({"base": base, "one": folders["sharded"]}, members=members)

        assert [info.name for info in plan.tensors] == [info.name for info in held.tensors]
        assert plan.config == held.config
        for info in plan.tensors:
            for name in members:
                found = whole(plan.values[name], info.name, block=1000)
                np.testing.assert_array_equal(found, whole(held.values[name], info.name), err_msg=info.name)


def test_a_size_of_a_vocabulary_that_is_no_number_is_said_of_the_model(tmp_path: Path) -> None:
    folders = {name: save_tiny_model(tmp_path / name) for name in ("base", "unread")}
    config = json.loads((folders["unread"] / "config.json").read_text())
    (folders["unread"] / "config.json").write_text(json.dumps({**config, "vocab_size": "many"}))

    with pytest.raises(UserError, match=r"^unread: vocab_size is the number of an embedding's rows; .* has 'many'$"):
        planned(folders, read=("base",))
