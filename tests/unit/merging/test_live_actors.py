"""Live models of kinds that are not plain: experts, other dtypes, other methods, other vocabularies."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaForCausalLM,
    MixtralConfig,
    PreTrainedConfig,
    Qwen3MoeConfig,
)

from bai_sweep.config import LinearMerge, MergedActor, SlerpMerge, TaskArithmeticMerge
from bai_sweep.merging import check, initialise, release
from bai_sweep.merging.live import _initialise, _shared, _skeleton
from bai_sweep.records import UserError
from tests.tiny import WORDS, save_tiny_model, tiny_model, tiny_tokenizer
from tests.unit.merging.live_helpers import bai, model_config

SMALL = {
    "vocab_size": len(WORDS),
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
EXPERTS = {
    "mixtral": MixtralConfig(**SMALL, num_local_experts=4),
    "qwen3_moe": Qwen3MoeConfig(**SMALL, num_experts=4, moe_intermediate_size=16, head_dim=8),
}


@pytest.fixture(autouse=True)
def _memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(_shared.SETTING, str(tmp_path))
    yield
    release()


def save(folder: Path, config: PreTrainedConfig, seed: int) -> Path:
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", EXPERTS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_experts_that_are_stored_one_by_one_merge_into_fused_ones(tmp_path: Path, kind: str, dtype: str) -> None:
    family = {n: save(tmp_path / n, EXPERTS[kind], seed) for seed, n in enumerate(["base", "instruct", "distilled"])}
    stored = load_file(family["base"] / "model.safetensors")
    assert any("experts.3" in name for name in stored), "the checkpoint holds each expert"
    models = {n: AutoModelForCausalLM.from_pretrained(f).state_dict() for n, f in family.items()}
    assert any("gate_up_proj" in name for name in models["base"]), "the live model holds them fused"

    found = [
        initialise(model_config(family, dtype), bai(alpha, 0.3)).model.state_dict()
        for alpha in (0.2, 0.37139, 0.37139)
    ]

    assert set(found[1]) == set(models["base"])
    for name, base in models["base"].items():
        sft = 0.3 * models["instruct"][name].double() + 0.7 * models["distilled"][name].double()
        expected = 0.37139 * base.double() + (1 - 0.37139) * sft
        tolerance = 1e-7 if dtype == "float32" else 2**-8 * expected.abs().max().item()
        torch.testing.assert_close(found[1][name].double(), expected, rtol=0, atol=tolerance, msg=name)
        assert found[1][name].dtype == getattr(torch, dtype)
        assert torch.equal(found[1][name], found[2][name]), name


def test_a_model_with_tensors_that_transformers_does_not_know_is_refused(
    tiny_family: dict[str, Path], tmp_path: Path
) -> None:
    family = {}
    for name in tiny_family:
        folder = save_tiny_model(tmp_path / name)
        tensors = load_file(folder / "model.safetensors")
        save_file({**tensors, "model.odd.weight": torch.ones(2)}, folder / "model.safetensors")
        family[name] = folder

    with pytest.raises(
        UserError, match=r"does not take the tensors of the checkpoints \(unexpected: model.odd.weight"
    ):
        initialise(model_config(family), bai(0.5))


def test_a_checkpoint_that_lacks_a_parameter_is_refused(tiny_family: dict[str, Path], tmp_path: Path) -> None:
    family = {}
    for name in tiny_family:
        folder = save_tiny_model(tmp_path / name)
        tensors = load_file(folder / "model.safetensors")
        del tensors["model.norm.weight"]
        save_file(tensors, folder / "model.safetensors")
        family[name] = folder

    with pytest.raises(UserError, match=r"missing: model.norm.weight"):
        initialise(model_config(family), bai(0.5))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_live_merge_is_what_transformers_loads(tiny_family: dict[str, Path], dtype: str) -> None:
    actor = initialise(model_config(tiny_family, dtype), bai(1.0))
    loaded = AutoModelForCausalLM.from_pretrained(tiny_family["base"], dtype=getattr(torch, dtype))

    assert not actor.model.training
    assert actor.model.dtype == loaded.dtype
    assert actor.model.config.to_dict() == loaded.config.to_dict()
    buffers = dict(loaded.named_buffers())
    assert all(torch.equal(b, buffers[n]) and b.dtype == buffers[n].dtype for n, b in actor.model.named_buffers())
    ids = torch.arange(5, 25).view(2, 10)
    with torch.no_grad():
        assert torch.equal(actor.model(ids).logits, loaded(ids).logits)


def test_parameters_that_transformers_keeps_in_float32_stay_so(
    tiny_family: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LlamaForCausalLM, "_keep_in_fp32_modules_strict", {"input_layernorm"})

    state = initialise(model_config(tiny_family, "bfloat16"), bai(1.0)).model.state_dict()

    loaded = AutoModelForCausalLM.from_pretrained(tiny_family["base"], dtype=torch.bfloat16).state_dict()
    assert {tensor.dtype for tensor in loaded.values()} == {torch.float32, torch.bfloat16}
    assert all(state[n].dtype == tensor.dtype and torch.equal(state[n], tensor) for n, tensor in loaded.items())


def test_no_weight_is_initialised_and_no_checkpoint_read_for_the_skeleton(
    tiny_family: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a weight is initialised")

    monkeypatch.setattr(torch.Tensor, "normal_", refuse)
    monkeypatch.setattr(torch.Tensor, "uniform_", refuse)
    before = torch.random.get_rng_state()

    live = _skeleton.skeleton(tiny_model_settings(tiny_family), str(tiny_family["base"]), torch.float32)

    assert torch.equal(torch.random.get_rng_state(), before)
    assert live.get_output_embeddings().weight is live.get_input_embeddings().weight


def tiny_model_settings(family: dict[str, Path]) -> dict[str, object]:
    settings: dict[str, object] = json.loads((family["base"] / "config.json").read_text())
    return settings


def test_a_configuration_that_transformers_does_not_know_is_refused() -> None:
    with pytest.raises(UserError, match="got 'llamantis'"):
        _skeleton.skeleton({"model_type": "llamantis"}, "somewhere", torch.float32)
    with pytest.raises(UserError, match="an actor is a causal language model"):
        _skeleton.skeleton({"model_type": "vit"}, "somewhere", torch.float32)


def test_values_beyond_float16_are_refused_for_a_live_model(tiny_family: dict[str, Path], tmp_path: Path) -> None:
    large = tiny_model(seed=3)
    with torch.no_grad():
        large.model.norm.weight[1] = 1e6
    folder = save_tiny_model(tmp_path / "large", dtype=torch.float32)
    large.save_pretrained(folder)

    for _ in range(2):  # streamed, then held
        with pytest.raises(UserError, match=r"model.norm.weight.* too large for the dtype of the live model, F16"):
            initialise(model_config({**tiny_family, "instruct": folder}, "float16"), bai(0.5))


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_change_nothing(tiny_family: dict[str, Path], threads: int) -> None:
    merged = initialise(model_config(tiny_family), bai(0.37139), threads=threads).model.state_dict()

    expected = initialise(model_config(tiny_family), bai(0.37139)).model.state_dict()
    assert all(torch.equal(merged[name], tensor) for name, tensor in expected.items())


def test_a_merge_takes_the_threads_that_torch_has(
    tiny_family: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    merge = _initialise.Opened.merge

    def spy(self: _initialise.Opened, *arguments: object, threads: int) -> None:
        asked.append(threads)
        merge(self, *arguments, threads=threads)  # type: ignore[arg-type]

    monkeypatch.setattr(_initialise.Opened, "merge", spy)
    before = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            initialise(model_config(tiny_family), bai(0.5))
    finally:
        torch.set_num_threads(before)

    assert asked == [1, 2]


def test_other_methods_merge_into_a_live_model(tiny_family: dict[str, Path]) -> None:
    weights = {"instruct": 0.5, "distilled": 0.5}
    merge = TaskArithmeticMerge(method="task_arithmetic", scale=0.4)
    actor = MergedActor(kind="merge", name="task", alpha=0.5, weights=weights, merge=merge)

    found = initialise(model_config(tiny_family), actor)

    stored = {n: load_file(f / "model.safetensors") for n, f in tiny_family.items()}
    for name, base in stored["base"].items():
        task = sum(0.5 * (stored[sft][name].double() - base.double()) for sft in weights)
        torch.testing.assert_close(
            found.model.state_dict()[name].double(), base.double() + 0.4 * task, rtol=0, atol=2e-7
        )
    assert found.recipe.method == "task_arithmetic"
    assert found.recipe.settings == {"scale": 0.4}
    slerp = actor.model_copy(update={"merge": SlerpMerge(method="slerp")})
    assert initialise(model_config(tiny_family), slerp).recipe.method == "slerp"


def test_tokens_of_an_sft_model_come_with_the_tokenizer(tiny_family: dict[str, Path], tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "instruct", seed=7, vocab_size=len(WORDS) + 2)
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<call>"], special_tokens=True)
    tokenizer.add_tokens(["plus"])
    tokenizer.save_pretrained(folder)
    family = {**tiny_family, "instruct": folder}

    actor = initialise(model_config(family), bai(0.5))

    assert actor.model.get_input_embeddings().weight.shape[0] == len(WORDS) + 2
    assert actor.model.config.vocab_size == len(WORDS) + 2
    assert actor.tokenizer.convert_tokens_to_ids(["<call>", "plus"]) == [len(WORDS), len(WORDS) + 1]
    assert actor.tokenizer.chat_template == AutoTokenizer.from_pretrained(tiny_family["base"]).chat_template
    actor.tokenizer.save_pretrained(tmp_path / "saved")
    assert AutoTokenizer.from_pretrained(tmp_path / "saved")("a <call> plus").input_ids[-2:] == [
        len(WORDS),
        len(WORDS) + 1,
    ]


def test_the_tokenizers_model_says_how_to_generate(tiny_family: dict[str, Path], tmp_path: Path) -> None:
    instruct = save_tiny_model(tmp_path / "instruct", seed=7)
    GenerationConfig(temperature=0.37, do_sample=True, eos_token_id=30).save_pretrained(instruct)
    family = {**tiny_family, "instruct": instruct}

    settings = initialise(model_config(family, tokenizer="instruct"), bai(0.5)).model.generation_config

    assert settings.temperature == 0.37
    assert settings.eos_token_id == [2, 30]


def test_models_that_do_not_fit_are_found_before_anything_is_loaded(
    tiny_family: dict[str, Path], tmp_path: Path
) -> None:
    check(model_config(tiny_family), bai(0.5))
    family = {**tiny_family, "distilled": save_tiny_model(tmp_path / "other", intermediate_size=48)}

    with pytest.raises(UserError, match="the checkpoints do not fit together"):
        check(model_config(family), bai(0.5))
    check(model_config({**tiny_family, "distilled": "owner/never-downloaded"}), bai(0.5))  # type: ignore[dict-item]


def test_the_package_imports_without_torch() -> None:
    code = (
        "import sys, bai_sweep.merging, bai_sweep.merging.live;"
        "bai_sweep.merging.check, bai_sweep.merging.release;"
        "print([m for m in ('torch', 'transformers', 'matplotlib') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert found.stdout.strip() == "[]"


def test_an_actor_names_what_it_is_of(tiny_family: dict[str, Path]) -> None:
    weights = {"instruct": 1.0, "distilled": 0.0}
    merge = LinearMerge(method="linear")
    actor = MergedActor(kind="merge", name="bai", alpha=0.25, weights=weights, merge=merge)

    recipe = initialise(model_config(tiny_family), actor).recipe

    assert recipe.sources == {"base": str(tiny_family["base"]), "instruct": str(tiny_family["instruct"])}
    assert recipe.formula() == "0.25*base + 0.75*instruct"


def test_doubts_are_logged_once_for_all_ratios(tiny_family: dict[str, Path], caplog: pytest.LogCaptureFixture) -> None:
    release()
    with caplog.at_level(logging.WARNING):
        for alpha in (0.2, 0.4):
            initialise(model_config(tiny_family), bai(alpha))

    said = [message for message in caplog.messages if "seem to come of one base" in message]
    assert [message.split()[0] for message in said] == ["instruct", "distilled"]
