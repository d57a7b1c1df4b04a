"""LoRA adapters as models, against PEFT's own arithmetic."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaForCausalLM, Qwen2Config
from transformers import Qwen2ForCausalLM as Qwen2

from bai_sweep.merging._types import Member
from bai_sweep.merging.inputs import _lora as module
from bai_sweep.merging.inputs import open_members
from bai_sweep.merging.inputs._adapted import Adapted
from bai_sweep.records import UserError
from tests.tiny import save_tiny_model, tiny_model
from tests.unit.merging.inputs_helpers import values_of

pytestmark = [
    # PEFT's, of adapters that touch embeddings: what it says is what these tests are about
    pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers` to `True`"),
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`"),
    pytest.mark.filterwarnings("ignore:Model with `tie_word_embeddings=True`"),
    pytest.mark.filterwarnings("ignore:You have requested `ensure_weight_tying`"),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to"),
]
LINEAR = ["q_proj", "k_proj", "down_proj"]
PROMPT = torch.tensor([[1, 5, 6, 7, 30]])


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Embedding and head apart."""
    root = tmp_path_factory.mktemp("adapter")
    return save_tiny_model(root / "base", dtype=torch.float32, tie_word_embeddings=False)


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("adapter") / "tied", dtype=torch.float32)


def adapt(base: Path, folder: Path, *, resize: int | None = None, **changes: Any) -> Path:
    """An adapter with something in every weight that it trains."""
    model = AutoModelForCausalLM.from_pretrained(base)
    if resize:
        model.resize_token_embeddings(resize, mean_resizing=False)
    config = {"r": 4, "lora_alpha": 6, "target_modules": LINEAR, "task_type": "CAUSAL_LM", **changes}
    adapted = get_peft_model(model, LoraConfig(**config))
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    adapted.save_pretrained(folder)
    return folder


def loaded(base: Path, folder: Path, resize: int | None = None) -> Any:
    """The adapted model as PEFT has it."""
    model = AutoModelForCausalLM.from_pretrained(base)
    if resize:
        model.resize_token_embeddings(resize, mean_resizing=False)
    return PeftModel.from_pretrained(model, folder).eval()


@contextmanager
def opened(base: Path, folder: Path) -> Iterator[Member]:
    with open_members({"base": str(base), "adapted": str(folder)}) as members:
        yield members["adapted"]


def edit(folder: Path, **changes: object) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def require_merged_as_peft(base: Path, folder: Path, resize: int | None = None) -> None:
    merged = loaded(base, folder, resize).merge_and_unload().state_dict()
    plain = load_file(base / "model.safetensors")
    different = 0
    with open_members({"base": str(base), "adapted": str(folder)}) as members:
        tensors = members["adapted"].tensors
        names = [n for n in merged if not n.endswith((".attn.bias", ".attn.masked_bias"))]
        for name in names:
            stored = name if name in tensors.specs else name.removeprefix("transformer.")
            if stored not in tensors.specs:
                assert name == "lm_head.weight"
                continue
            values = values_of(tensors, stored)
            assert values.shape == tuple(merged[name].shape), name
            np.testing.assert_allclose(values, merged[name].numpy(), rtol=0, atol=1e-6, err_msg=name)
            different += stored not in plain or not np.array_equal(values, plain[stored].numpy())
    assert different > 0


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {"k_proj": 2, "layers.1.self_attn.q_proj": 7}, "alpha_pattern": {"down_proj": 11}},
        {"rank_pattern": {r"layers\.[01]\.mlp\.down_proj": 3}, "alpha_pattern": {r"layers\.0\..*": 9, "q_proj": 5}},
        {"target_modules": [*LINEAR, "embed_tokens", "lm_head"]},
        {"target_modules": ["embed_tokens"]},
        {"modules_to_save": ["lm_head"]},
        {"modules_to_save": ["embed_tokens", "lm_head", "norm"]},
        {"init_lora_weights": "gaussian", "r": 16},
        {"layers_to_transform": [1]},
    ],
    ids=str,
)
def test_an_adapted_model_is_what_peft_merges(base: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    require_merged_as_peft(base, adapt(base, tmp_path / "adapter", **changes))


def test_a_resized_vocabulary_is_the_adapters(base: Path, tmp_path: Path) -> None:
    folder = adapt(base, tmp_path / "adapter", resize=50, modules_to_save=["embed_tokens", "lm_head"])
    kept = load_file(folder / "adapter_model.safetensors")
    assert "base_model.model.lm_head.original_module.weight" in kept  # not what was trained, and not to be read

    require_merged_as_peft(base, folder, resize=50)
    with opened(base, folder) as member:
        assert member.config["vocab_size"] == 50
        assert member.tensors.specs["model.embed_tokens.weight"].shape == (50, 32)
        assert member.tensors.specs["lm_head.weight"].shape == (50, 32)


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_trained_biases_replace_the_bases(tmp_path: Path, bias: str) -> None:
    torch.manual_seed(1)
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = Qwen2(Qwen2Config(vocab_size=20, num_key_value_heads=1, tie_word_embeddings=False, **shape))
    model.save_pretrained(tmp_path / "base")

    require_merged_as_peft(tmp_path / "base", adapt(tmp_path / "base", tmp_path / "adapter", bias=bias))


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("prefix", ["transformer.", ""])
def test_weights_stored_the_other_way_round_are_adapted_so(tmp_path: Path, prefix: str, head: bool) -> None:
    torch.manual_seed(1)
    size = {"vocab_size": 20, "n_positions": 16, "n_embd": 16, "n_layer": 1, "n_head": 2}
    GPT2LMHeadModel(GPT2Config(**size, tie_word_embeddings=False)).save_pretrained(tmp_path / "base")
    weights = tmp_path / "base" / "model.safetensors"  # on the hub GPT-2's names have no prefix
    stored = {n.replace("transformer.", prefix): t for n, t in load_file(weights).items()}
    save_file(stored, weights, metadata={"format": "pt"})
    # c_proj of attention is square; a head, which is stored like any other model's, sets PEFT's flag for all
    modules = ["c_attn", "c_proj", "c_fc", *(["lm_head"] if head else [])]

    require_merged_as_peft(
        tmp_path / "base", adapt(tmp_path / "base", tmp_path / "adapter", target_modules=modules, fan_in_fan_out=True)
    )


@pytest.mark.parametrize("flag", [False, True])
@pytest.mark.parametrize(
    "changes",
    [
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": ["q_proj", "lm_head", "embed_tokens"]},
        {"modules_to_save": ["embed_tokens"]},
        {"modules_to_save": ["lm_head"]},
        {"modules_to_save": ["embed_tokens", "lm_head"]},
        {},
    ],
    ids=str,
)
def test_a_tied_base_computes_what_the_adapted_model_computed(
    tied: Path, tmp_path: Path, changes: dict[str, Any], flag: bool
) -> None:
    folder = adapt(tied, tmp_path / "adapter", ensure_weight_tying=flag, **changes)
    with torch.no_grad():
        expected = loaded(tied, folder)(PROMPT).logits

    with opened(tied, folder) as member:
        ties = flag or not changes
        assert member.config["tie_word_embeddings"] is ties
        assert ("lm_head.weight" in member.tensors.specs) is not ties
        model = tiny_model(tie_word_embeddings=ties)
        state = {name: torch.from_numpy(values_of(member.tensors, name)) for name in member.tensors.specs}
        assert set(model.load_state_dict(state, strict=False).missing_keys) == ({"lm_head.weight"} if ties else set())
        with torch.no_grad():
            torch.testing.assert_close(model(PROMPT).logits, expected, rtol=0, atol=5e-6)


def test_a_resized_embedding_that_is_merely_stored_stays_the_head(tied: Path, tmp_path: Path) -> None:
    folder = adapt(tied, tmp_path / "adapter", resize=50)
    stored = load_file(folder / "adapter_model.safetensors")
    assert {n for n in stored if "lora" not in n} == {
        "base_model.model.lm_head.weight",
        "base_model.model.model.embed_tokens.weight",
    }

    with opened(tied, folder) as member:
        assert "lm_head.weight" not in member.tensors.specs
        assert member.config["tie_word_embeddings"] is True
        assert member.config["vocab_size"] == 50
        expected = stored["base_model.model.model.embed_tokens.weight"].numpy()
        np.testing.assert_array_equal(values_of(member.tensors, "model.embed_tokens.weight"), expected)


def test_the_head_of_a_resized_and_adapted_embedding_is_what_it_was_before_the_adapter(
    tied: Path, tmp_path: Path
) -> None:
    folder = adapt(tied, tmp_path / "adapter", resize=50, target_modules=["embed_tokens"])
    stored = load_file(folder / "adapter_model.safetensors")

    with opened(tied, folder) as member:
        expected = stored["base_model.model.model.embed_tokens.base_layer.weight"].numpy()
        np.testing.assert_array_equal(values_of(member.tensors, "lm_head.weight"), expected)
        assert not np.allclose(values_of(member.tensors, "model.embed_tokens.weight"), expected, atol=0.01)
        assert member.config["vocab_size"] == 50


def test_a_bfloat16_base_is_widened_before_the_product_is_added(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "base")
    adapter = adapt(folder, tmp_path / "adapter")
    stored = {n: t.double().numpy() for n, t in load_file(folder / "model.safetensors").items()}
    factors = {n: t.double().numpy() for n, t in load_file(adapter / "adapter_model.safetensors").items()}
    key = "model.layers.0.self_attn.q_proj"

    with opened(folder, adapter) as member:
        product = factors[f"base_model.model.{key}.lora_B.weight"] @ factors[f"base_model.model.{key}.lora_A.weight"]
        expected = stored[f"{key}.weight"] + 6 / 4 * product
        np.testing.assert_allclose(values_of(member.tensors, f"{key}.weight"), expected, rtol=0, atol=3e-8)
        assert member.tensors.specs[f"{key}.weight"].dtype == "BF16"


def test_four_threads_read_an_adapted_model_alike(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = adapt(base, tmp_path / "adapter", target_modules=[*LINEAR, "embed_tokens"])
    multiply = module._multiply

    def then_wait(*arguments: Any) -> None:
        multiply(*arguments)
        time.sleep(0.001)  # for the other threads to multiply meanwhile

    monkeypatch.setattr(module, "_multiply", then_wait)
    with opened(base, folder) as member:
        names = sorted(member.tensors.specs) * 5
        alone = [values_of(member.tensors, name).tobytes() for name in names]
        with ThreadPoolExecutor(4) as pool:
            together = pool.map(values_of, [member.tensors] * len(names), names)
            assert [values.tobytes() for values in together] == alone


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"peft_type": "IA3"}, "of PEFT's adapters LoRA is read; this is 'IA3'"),
        ({"peft_type": "PROMPT_TUNING"}, "this is 'PROMPT_TUNING'"),
        ({"peft_type": None}, "this is None"),
        ({"use_dora": True}, "this one sets use_dora"),
        ({"target_parameters": ["experts.gate_up_proj"]}, "this one sets target_parameters"),
        ({"trainable_token_indices": [1], "use_qalora": True}, "sets use_qalora, trainable_token_indices"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights='pissa_niter_4' changed them"),
        ({"init_lora_weights": "loftq"}, "init_lora_weights='loftq' changed them"),
    ],
)
def test_adapters_that_are_no_plain_lora_are_refused_with_the_way_to_merge_them(
    base: Path, tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    folder = adapt(base, tmp_path / "adapter")
    edit(folder, **changes)

    with pytest.raises(UserError, match=said) as caught, opened(base, folder):
        pass

    assert f"AutoPeftModelForCausalLM.from_pretrained({str(folder)!r})" in str(caught.value)
    assert "merge_and_unload()" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"r": 0}, "r is a number above 0; got 0"),
        ({"lora_alpha": "8"}, "lora_alpha is a number above 0; got '8'"),
        ({"lora_alpha": None}, "lora_alpha is a number above 0; got None"),
        ({"alpha_pattern": {"q_proj": -1}}, "alpha_pattern is a number above 0; got -1"),
        ({"rank_pattern": {"(": 3}}, r"unterminated subpattern"),
        ({"revision": 3}, "revision is a string or null; got 3"),
        ({"base_model_name_or_path": None}, "base_model_name_or_path names the base.*got None"),
        ({"r": 5}, r"gives model\.layers\.0\.\S+ the rank 5, and its factors are \[4,"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(
    base: Path, tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    folder = adapt(base, tmp_path / "adapter")
    edit(folder, **changes)

    with pytest.raises(UserError, match=said), opened(base, folder):
        pass


def tamper(folder: Path, rename: dict[str, str | None] | None = None, **added: torch.Tensor) -> None:
    path = folder / "adapter_model.safetensors"
    tensors = {(rename or {}).get(n, n): t for n, t in load_file(path).items()} | added
    save_file({n: t for n, t in tensors.items() if n is not None}, path)


A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


def test_tensors_that_are_no_part_of_a_lora_are_refused(base: Path, tmp_path: Path) -> None:
    folder = adapt(base, tmp_path / "adapter")
    tamper(folder, **{A.replace("lora_A.weight", "lora_magnitude_vector"): torch.ones(32)})

    with (
        pytest.raises(UserError, match=r"it has base_model\S+lora_magnitude_vector; make it a model with PEFT"),
        opened(base, folder),
    ):
        pass


def test_half_a_pair_of_factors_is_refused(base: Path, tmp_path: Path) -> None:
    folder = adapt(base, tmp_path / "adapter")
    tamper(folder, {A: None})

    with (
        pytest.raises(UserError, match=r"has A and B; model\.layers\.0\.self_attn\.q_proj has B"),
        opened(base, folder),
    ):
        pass


def test_factors_that_are_no_matrices_are_refused(base: Path, tmp_path: Path) -> None:
    folder = adapt(base, tmp_path / "adapter")
    tamper(folder, **{A: torch.ones(4, 32, 1, 1)})

    with (
        pytest.raises(UserError, match=r"LoRA factors are matrices; those of \S+ are \[4, 32, 1, 1\]"),
        opened(base, folder),
    ):
        pass


def test_another_base_is_refused(base: Path, tmp_path: Path) -> None:
    other = save_tiny_model(tmp_path / "other", hidden_size=48)
    short = save_tiny_model(tmp_path / "short", num_hidden_layers=1)
    folder = adapt(base, tmp_path / "adapter")

    edit(folder, base_model_name_or_path=str(other))
    with (
        pytest.raises(UserError, match=r"its factors for model\S+ are \[4, \d+\] and .*name the base that it was"),
        opened(other, folder),
    ):
        pass
    edit(folder, base_model_name_or_path=str(short))
    with (
        pytest.raises(UserError, match=r"it adapts model\.layers\.1\S+, and its base has no such tensor"),
        opened(short, folder),
    ):
        pass


def test_the_models_of_the_tests_are_the_classes_they_seem(base: Path, tied: Path) -> None:
    assert isinstance(AutoModelForCausalLM.from_pretrained(base), LlamaForCausalLM)
    assert "lm_head.weight" in load_file(base / "model.safetensors")
    assert "lm_head.weight" not in load_file(tied / "model.safetensors")


def test_a_pattern_is_the_end_of_a_modules_name_from_a_dot_on(base: Path, tmp_path: Path) -> None:
    folder = adapt(base, tmp_path / "adapter")
    name = "model.layers.0.self_attn.q_proj.weight"
    with opened(base, folder) as member:
        expected = values_of(member.tensors, name)

    edit(folder, alpha_pattern={"q_pro": 60, "_proj": 60, "layers": 60, "proj|q": 60})

    with opened(base, folder) as member:
        np.testing.assert_array_equal(values_of(member.tensors, name), expected)


def test_a_square_embedding_is_adapted_the_way_of_embeddings(tmp_path: Path) -> None:
    base = save_tiny_model(
        tmp_path / "b", dtype=torch.float32, tie_word_embeddings=False, hidden_size=48, vocab_size=48
    )

    require_merged_as_peft(base, adapt(base, tmp_path / "adapter", target_modules=["embed_tokens", "down_proj"]))


@pytest.mark.parametrize("of", ["base", "adapter"])
def test_a_file_of_the_base_or_the_adapter_that_changes_is_named(base: Path, tmp_path: Path, of: str) -> None:
    place = tmp_path / "base"
    shutil.copytree(base, place)
    adapter = adapt(place, tmp_path / "adapter")
    file = place / "model.safetensors" if of == "base" else adapter / "adapter_model.safetensors"

    with opened(place, adapter) as member:
        assert isinstance(member.tensors, Adapted)
        assert member.tensors.changed() is None
        time.sleep(0.02)  # the clock of a file system is coarse
        with file.open("r+b") as stream:
            stream.seek(-1, 2)
            stream.write(b"\x01")

        assert member.tensors.changed() == file
