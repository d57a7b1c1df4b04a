"""Faults that stop a merge, all at once, and doubts that do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from bai_sweep.merging._types import Member, TensorInfo, TensorSpec
from bai_sweep.merging.compatibility import (
    by_row,
    depths_of,
    function_doubts,
    lineage_doubts,
    part_of,
    require_alike,
    tie,
)
from bai_sweep.records import UserError
from tests.tiny import save_tiny_model
from tests.unit.merging.plan_helpers import made, member
from tests.unit.merging.vocabulary_helpers import EMBEDDING, Held, whole

HEAD = "lm_head.weight"
TABLE = np.arange(12, dtype=np.float32).reshape(4, 3)
LAYER = {"model.layers.0.mlp.up_proj.weight": np.ones((3, 3), dtype=np.float32)}


def checked(*members: Member) -> str:
    """The message of the error."""
    found = {one.name: one for one in members}
    with pytest.raises(UserError, match="the checkpoints do not fit together") as caught:
        require_alike(found, tie(found, {}).tensors)
    return str(caught.value)


def test_every_fault_is_in_one_message(tmp_path: Path) -> None:
    base = member("base", save_tiny_model(tmp_path / "base"))
    wide = save_tiny_model(tmp_path / "wide", hidden_size=48, num_hidden_layers=3, num_key_value_heads=2, head_dim=8)
    other = save_tiny_model(tmp_path / "other", intermediate_size=48)

    lines = checked(base, member("wide", wide), member("other", other, model_type="qwen2")).splitlines()

    for expected in (
        "  - model_type: 'llama' in base, 'qwen2' in other",
        "  - hidden_size: 32 in base, 48 in wide",
        "  - num_hidden_layers: 2 in base, 3 in wide",
        "  - num_key_value_heads: 4 in base, 2 in wide",
        "  - intermediate_size: 64 in base, 48 in other",
        "  - model.layers.2.self_attn.q_proj.weight: in wide, not in base",
    ):
        assert expected in lines


def test_both_shapes_of_a_tensor_are_named(tmp_path: Path) -> None:
    base = member("base", save_tiny_model(tmp_path / "base"))
    other = member("other", save_tiny_model(tmp_path / "other", intermediate_size=48))

    assert "  - model.layers.0.mlp.up_proj.weight: [64, 32] in base, [48, 32] in other" in checked(base, other)


def test_a_long_message_is_cut_and_counts_the_rest(tmp_path: Path) -> None:
    base = member("base", save_tiny_model(tmp_path / "base"))
    deep = member("deep", save_tiny_model(tmp_path / "deep", num_hidden_layers=9))

    lines = checked(base, deep).splitlines()

    assert len(lines) == 32
    # nine tensors in each of seven layers, and the count of the layers itself
    assert lines[-1] == f"  - ... and {9 * 7 + 1 - 30} more"


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ({"architectures": ["LlamaForSequenceClassification"]}, "architectures: ['LlamaForCausalLM'] in base"),
        ({"head_dim": 16}, "head_dim: 8 in base, 16 in other"),
        ({"num_local_experts": 8}, None),
        ({"quantization_config": {"quant_method": "fp8"}}, r"other: its weights are quantised (fp8)"),
    ],
)
def test_what_configurations_say_of_the_layout_is_compared(
    tmp_path: Path, config: dict[str, Any], fault: str | None
) -> None:
    folder = save_tiny_model(tmp_path / "base")
    base, other = member("base", folder), member("other", folder, **config)

    if fault is None:  # said by one alone; the tensors will tell
        require_alike({"base": base, "other": other}, {"base": base.tensors, "other": other.tensors})
    else:
        assert fault in checked(base, other)


def test_what_an_old_configuration_leaves_out_is_what_its_heads_say(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "base")
    old = member("old", folder, num_key_value_heads="left out", head_dim="left out")

    message = checked(old, member("other", folder, num_key_value_heads=2, head_dim=16))

    assert "num_key_value_heads: 4 in old, 2 in other" in message
    assert "head_dim: 8 in old, 16 in other" in message
    same = {"old": old, "base": member("base", folder)}
    require_alike(same, tie(same, {}).tensors)


def test_numbers_of_experts_are_compared(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "base")

    message = checked(member("base", folder, num_local_experts=8), member("other", folder, num_experts=4))

    assert "number of experts: 8 in base, 4 in other" in message


def test_vocabularies_may_have_other_rows_and_no_other_columns() -> None:
    base = made("base", {EMBEDDING: TABLE, **LAYER}, tie_word_embeddings=True)
    longer = made("longer", {EMBEDDING: np.ones((9, 3), np.float32), **LAYER}, tie_word_embeddings=True)
    wider = made("wider", {EMBEDDING: np.ones((4, 5), np.float32), **LAYER}, tie_word_embeddings=True)

    require_alike({"base": base, "longer": longer}, {"base": base.tensors, "longer": longer.tensors})
    assert f"{EMBEDDING}: [4, 3] in base, [4, 5] in wider" in checked(base, wider)


def test_a_head_with_other_rows_than_its_embedding_is_a_fault() -> None:
    base = made("base", {EMBEDDING: TABLE, HEAD: TABLE[:3]}, tie_word_embeddings=False)

    assert f"{HEAD}: [3, 3] in base, whose embedding has 4 rows" in checked(base)


def counting(name: str, count: int, dtype: str = "I64") -> Member:
    """A member with a tensor that is no parameter."""

    class Counted(Held):
        def raw(self, name: str) -> bytes:
            assert name == "model.counter"
            return bytes([count])

    held = Counted({EMBEDDING: TABLE, "model.counter": TABLE[0]})
    held.specs["model.counter"] = TensorSpec((3,), dtype)
    return Member(name, name, Path(name), {"tie_word_embeddings": True}, held, ())


def test_tensors_that_hold_no_floating_numbers_are_left_out_where_they_agree() -> None:
    members = {name: counting(name, 7) for name in ("base", "other")}

    tying = tie(members, {})

    require_alike(members, tying.tensors)
    assert [list(tensors.specs) for tensors in tying.tensors.values()] == [[EMBEDDING], [EMBEDDING]]


def test_tensors_that_hold_no_floating_numbers_are_a_fault_where_they_differ() -> None:
    message = checked(counting("base", 7), counting("other", 8))

    assert "model.counter: I64, which is copied and not merged, differs between base and other" in message
    assert "differs between" in checked(counting("base", 7), counting("other", 7, dtype="I32"))


def test_a_tensor_that_only_one_member_keeps_in_a_floating_type_is_a_fault() -> None:
    message = checked(counting("base", 7), counting("other", 7, dtype="F32"))

    assert "model.counter: stored as I64 in base; only F64, F32, F16, BF16 are merged" in message


class TestTying:
    """Who has a head of its own."""

    own = made("own", {EMBEDDING: TABLE, HEAD: -TABLE}, tie_word_embeddings=False)
    tied = made("tied", {EMBEDDING: TABLE + 1}, tie_word_embeddings=True)
    both = made("both", {EMBEDDING: TABLE + 2, HEAD: TABLE + 3}, tie_word_embeddings=True)

    def test_one_head_of_its_own_gives_the_merge_one(self) -> None:
        found = tie({"tied": self.tied, "own": self.own, "both": self.both}, {})

        assert not found.tied
        np.testing.assert_array_equal(whole(found.tensors["tied"], HEAD), TABLE + 1)
        np.testing.assert_array_equal(whole(found.tensors["own"], HEAD), -TABLE)
        # what a tied model stores beside its embedding is not its head: transformers does not load it
        np.testing.assert_array_equal(whole(found.tensors["both"], HEAD), TABLE + 2)

    def test_tied_models_give_a_tied_merge_without_the_stored_copy(self) -> None:
        found = tie({"tied": self.tied, "both": self.both}, {})

        assert found.tied
        assert [list(tensors.specs) for tensors in found.tensors.values()] == [[EMBEDDING], [EMBEDDING]]

    def test_a_model_that_is_not_read_counts_too(self) -> None:
        found = tie({"tied": self.tied}, {"unread": {"model_type": "llama", "tie_word_embeddings": False}})

        assert not found.tied
        np.testing.assert_array_equal(whole(found.tensors["tied"], HEAD), TABLE + 1)

    def test_a_missing_head_is_the_embedding_and_a_doubt(self) -> None:
        headless = made("headless", {EMBEDDING: TABLE}, tie_word_embeddings=False)

        found = tie({"headless": headless}, {})

        assert found.tied
        assert found.doubts == (
            "headless: its config.json unties the head from the embedding, and no head is stored; "
            "the embedding is its head",
        )

    @pytest.mark.parametrize(
        ("kind", "tied"), [("gemma2", True), ("gpt2", True), ("llama", False), ("gpt_neox", False)]
    )
    def test_a_configuration_that_says_nothing_has_its_classs_default(self, kind: str, tied: bool) -> None:
        silent = made("silent", {EMBEDDING: TABLE, HEAD: TABLE}, model_type=kind)

        assert tie({"silent": silent}, {}).tied is tied

    def test_a_nested_configuration_is_understood(self) -> None:
        nested = made("nested", {EMBEDDING: TABLE, HEAD: TABLE}, text_config={"tie_word_embeddings": True})

        assert tie({"nested": nested}, {}).tied

    def test_a_tied_members_head_is_called_as_the_others(self) -> None:
        table, head = "language_model.model.embed_tokens.weight", "language_model.lm_head.weight"
        own = made("own", {table: TABLE, head: -TABLE}, text_config={"tie_word_embeddings": False})
        tied = made("tied", {table: TABLE}, text_config={"tie_word_embeddings": True})

        found = tie({"tied": tied, "own": own}, {})

        assert list(found.tensors["tied"].specs) == [table, head]
        assert by_row(head)
        assert part_of(head) == "head"

    def test_buffers_that_are_computed_are_left_out(self) -> None:
        mask = np.ones((1, 1, 3, 3), dtype=np.float32)
        old = {"h.0.attn.bias": mask, "h.0.attn.masked_bias": mask[0, 0, 0]}
        kept = {"h.0.attn.c_attn.bias": TABLE[0], "h.1.attn.bias": TABLE[0]}

        found = tie({"old": made("old", {"wte.weight": TABLE, **old, **kept}, model_type="gpt2")}, {})

        assert list(found.tensors["old"].specs) == ["wte.weight", *kept]


@pytest.mark.parametrize(
    ("base", "other", "doubt"),
    [
        ({"rope_theta": 1e4}, {"rope_theta": 1e6}, "rope_theta: 10000.0 in base, 1000000.0 in other"),
        ({}, {"rope_theta": 5e5}, "rope_theta: 10000.0 in base, 500000.0 in other"),
        ({"rope_theta": 5e5}, {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}, None),
        (
            {"rope_scaling": None},
            {"rope_scaling": {"type": "linear", "factor": 2.0}},
            "rope_scaling: {'rope_type': 'default'} in base, {'rope_type': 'linear', 'factor': 2.0} in other",
        ),
        ({"sliding_window": 4096}, {}, "sliding_window: 4096 in base, 'off' in other"),
        ({"sliding_window": 4096, "use_sliding_window": False}, {"sliding_window": None}, None),
        ({"rms_norm_eps": 1e-6}, {"rms_norm_eps": 1e-5}, "rms_norm_eps: 1e-06 in base, 1e-05 in other"),
        (
            {"max_position_embeddings": 8},
            {"max_position_embeddings": 9},
            "max_position_embeddings: 8 in base, 9 in other",
        ),
        ({"tie_word_embeddings": True}, {"tie_word_embeddings": False}, "tie_word_embeddings: True in base, False in"),
        ({"final_logit_softcapping": 30.0}, {}, "final_logit_softcapping: 30.0 in base, 'off' in other"),
        ({"hidden_act": "silu"}, {}, None),
    ],
)
def test_settings_that_change_what_weights_compute_are_doubts(
    base: dict[str, Any], other: dict[str, Any], doubt: str | None
) -> None:
    doubts = function_doubts({"base": made("base", {}, **base), "other": made("other", {}, **other)})

    assert len(doubts) == (0 if doubt is None else 1)
    assert doubt is None or doubts[0].startswith(f"the models differ in {doubt}")


def lineage(*arrays: np.ndarray[Any, Any], same_source: bool = False) -> list[str]:
    name = "model.layers.0.mlp.up_proj.weight"
    members = {f"m{i}": made(f"m{i}", {name: values.astype(np.float32)}) for i, values in enumerate(arrays)}
    if same_source:
        members = {n: Member(n, "owner/name", m.folder, m.config, m.tensors, ()) for n, m in members.items()}
    infos = [TensorInfo(name, arrays[0].shape, "mlp", 0.0)]
    return lineage_doubts(members, {n: m.tensors for n, m in members.items()}, infos)


def test_unrelated_weights_are_a_doubt_with_the_cosine_and_related_ones_are_not() -> None:
    random = np.random.default_rng(0)
    base, other, change = random.standard_normal((3, 64, 4))  # 256 values, so that all of them are compared
    tuned = base + 0.1 * change

    assert lineage(base, tuned) == []
    (doubt,) = lineage(base, other)
    a, b = base.astype(np.float32).astype(np.float64).ravel(), other.astype(np.float32).astype(np.float64).ravel()
    assert f"cosine of their weights is {a @ b / np.linalg.norm(a) / np.linalg.norm(b):.3f} " in doubt
    assert f"the difference is {np.linalg.norm(a - b) / np.linalg.norm(a):.2f} of m0's norm (256 weights" in doubt


def test_identical_models_are_a_doubt() -> None:
    base, one = np.random.default_rng(0).standard_normal((2, 16, 16))

    assert lineage(one + base, one, one) == ["m1 and m2 have the same weights in all 256 places compared"]
    assert lineage(one, one, same_source=True) == ["m0 and m1 are the same model, owner/name"]


def test_the_lineage_is_read_from_a_few_thousand_weights_spread_over_the_depth() -> None:
    names = [f"model.layers.{i}.mlp.up_proj.weight" for i in range(40)]
    arrays = {
        name: np.random.default_rng(i).standard_normal((20, 50)).astype(np.float32) for i, name in enumerate(names)
    }
    members = {"a": made("a", arrays), "b": made("b", {n: v + 0.01 for n, v in arrays.items()})}
    infos = [TensorInfo(name, (20, 50), "mlp", i / 39) for i, name in enumerate(names)]

    assert lineage_doubts(members, {n: m.tensors for n, m in members.items()}, infos) == []
    held = members["a"].tensors
    assert held.reads == 16 * 4  # type: ignore[attr-defined]


SMALL: dict[str, Any] = {"vocab_size": 20, "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 3}
PARTS: dict[type[PreTrainedModel], tuple[PreTrainedConfig, str, str]] = {
    GPT2LMHeadModel: (
        GPT2Config(vocab_size=20, n_embd=16, n_layer=3, n_head=2, bos_token_id=0, eos_token_id=0),
        "transformer.wte",
        "transformer.h",
    ),
    GPTNeoXForCausalLM: (GPTNeoXConfig(**SMALL, intermediate_size=24), "gpt_neox.embed_in", "gpt_neox.layers"),
    PhiForCausalLM: (PhiConfig(**SMALL, intermediate_size=24), "model.embed_tokens", "model.layers"),
    OPTForCausalLM: (
        OPTConfig(**SMALL, ffn_dim=24, word_embed_proj_dim=16),
        "model.decoder.embed_tokens",
        "model.decoder.layers",
    ),
    MixtralForCausalLM: (
        MixtralConfig(**SMALL, num_key_value_heads=2, intermediate_size=24, num_local_experts=2),
        "model.embed_tokens",
        "model.layers",
    ),
    Qwen3ForCausalLM: (
        Qwen3Config(**SMALL, num_key_value_heads=2, intermediate_size=24, head_dim=8),
        "model.embed_tokens",
        "model.layers",
    ),
}


@pytest.mark.parametrize("kind", PARTS, ids=lambda kind: kind.__name__)
def test_every_tensor_of_the_common_architectures_has_its_part_and_depth(kind: type[PreTrainedModel]) -> None:
    config, embedding, stack = PARTS[kind]
    with torch.device("meta"):
        names = list(kind(config).state_dict())

    parts = {name: part_of(name) for name in names}
    assert "other" not in parts.values(), [name for name, part in parts.items() if part == "other"]
    assert set(parts.values()) == {"embeddings", "attention", "mlp", "norms", "head"}
    assert [name for name in names if by_row(name) and parts[name] == "embeddings"] == [f"{embedding}.weight"]
    assert all(by_row(name) for name, part in parts.items() if part == "head")
    depths = depths_of(names)
    for name in names:
        layer = next((i for i in range(3) if name.startswith(f"{stack}.{i}.")), None)
        assert depths[name] == (None if layer is None else layer / 2), name
        assert (parts[name] in ("attention", "mlp")) <= (layer is not None)


def test_a_single_layer_has_depth_zero() -> None:
    assert depths_of(["h.0.attn.c_attn.weight", "wte.weight"]) == {"h.0.attn.c_attn.weight": 0.0, "wte.weight": None}


def test_experts_are_no_layers() -> None:
    names = [f"model.layers.{i}.block_sparse_moe.experts.7.w1.weight" for i in range(2)]

    assert depths_of(names) == {names[0]: 0.0, names[1]: 1.0}
    assert {part_of(name) for name in names} == {"mlp"}
