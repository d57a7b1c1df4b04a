"""mergekit.yaml, read as mergekit reads it; benchmarks/parity/merge_parity.py runs mergekit itself on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bai_sweep.config import MergedActor
from bai_sweep.merging._types import Member, Part, TensorInfo, TensorSpec
from bai_sweep.merging.methods import Depth, method_of, recipe_of
from bai_sweep.merging.output._filters import weight_setting
from bai_sweep.merging.output._mergekit import reference
from tests.tiny import save_tiny_model
from tests.unit.merging.conftest import ArrayTensors
from tests.unit.merging.output_helpers import write

PARTS: tuple[Part, ...] = ("embeddings", "attention", "mlp", "norms", "head")
NOWHERE = {"first": None, "middle": None, "last": None}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def evaluated(setting: Any, name: str, t: float) -> float:
    """mergekit's rules: the first filter that is a part of the name, or "*"; of a list the point at `t`, linear."""
    if isinstance(setting, (int, float)):
        return float(setting)
    if isinstance(setting[0], dict):
        first = next(entry for entry in setting if entry["filter"] == "*" or entry["filter"] in name)
        return evaluated(first["value"], name, t)
    place = t * (len(setting) - 1)
    index = min(int(place), len(setting) - 2)
    return float(setting[index] + (place - index) * (setting[index + 1] - setting[index]))


def tensors_of(layers: int) -> list[TensorInfo]:
    """As a model with norms inside its attention (Qwen3) has them, and a name that says nothing."""
    inner: Sequence[tuple[str, Part]] = [
        ("self_attn.q_proj.weight", "attention"),
        ("self_attn.q_norm.weight", "norms"),
        ("mlp.up_proj.weight", "mlp"),
        ("input_layernorm.weight", "norms"),
        ("mixer.weight", "other"),
    ]
    outer: Sequence[tuple[str, Part]] = [
        ("model.embed_tokens.weight", "embeddings"),
        ("model.norm.weight", "norms"),
        ("lm_head.weight", "head"),
    ]
    return [
        TensorInfo(f"model.layers.{i}.{name}", (2,), part, i / max(layers - 1, 1))
        for i in range(layers)
        for name, part in inner
    ] + [TensorInfo(name, (2,), part, None) for name, part in outer]


RATIOS = st.floats(0, 1).map(lambda x: round(x, 3))


@given(
    st.integers(1, 13),
    RATIOS,
    st.tuples(RATIOS, RATIOS, RATIOS),
    st.dictionaries(st.sampled_from(PARTS), RATIOS),
)
@settings(max_examples=150, deadline=None)
def test_a_schedule_gives_every_tensor_its_share(
    layers: int, alpha: float, points: tuple[float, float, float], parts: dict[Part, float]
) -> None:
    method = Depth(alpha, {"a": 0.25, "b": 0.75}, points, parts)
    tensors = tensors_of(layers)

    found = {name: weight_setting(tensors, method, name) for name in ("base", "a", "b")}

    for tensor in tensors:
        share = method.alpha_of(tensor)
        t = 0.0 if tensor.depth is None else 1.0 if layers == 1 else tensor.depth
        for name, expected in {"base": share, "a": 0.25 * (1 - share), "b": 0.75 * (1 - share)}.items():
            assert evaluated(found[name], tensor.name, t) == pytest.approx(expected, abs=1e-9), (name, tensor.name)


def test_a_schedule_in_known_names_is_short() -> None:
    method = Depth(0.3, {"a": 1.0}, (0.1, 0.5, 0.9), {"mlp": 0.7, "embeddings": 0.2, "head": 0.2, "norms": 0.3})
    tensors = [t for t in tensors_of(24) if "mixer" not in t.name]

    setting = weight_setting(tensors, method, "base")

    assert [entry["filter"] for entry in setting] == ["embed_tokens", "lm_head", ".mlp.", "norm", "*"]
    assert setting[-1]["value"] == [0.1, 0.5, 0.9]


def documents(
    family: dict[str, Path], out: Path, merge: dict[str, Any], alpha: float = 0.25, **weights: float
) -> tuple[list[dict[str, Any]], str]:
    """mergekit.yaml of a merge of `family`, parsed and as text."""
    weights = weights or {"a": 0.6, "b": 0.4}
    actor = MergedActor.model_validate(
        {"kind": "merge", "name": "x", "alpha": alpha, "weights": weights, "merge": merge}
    )
    recipe = recipe_of({name: str(folder) for name, folder in family.items()}, actor)
    method = method_of(actor)
    folder = write(family, out, method=method, recipe=recipe, read=list(recipe.sources), dtype="BF16")
    text = (folder / "mergekit.yaml").read_text()
    return list(yaml.safe_load_all(text)), text


@pytest.fixture
def family(tmp_path: Path) -> dict[str, Path]:
    return {name: save_tiny_model(tmp_path / name, seed=i) for i, name in enumerate(["base", "a", "b"])}


def listed(document: dict[str, Any]) -> dict[str, Any]:
    return {Path(entry["model"]).name: entry.get("parameters", {}).get("weight") for entry in document["models"]}


def test_a_linear_merge_is_one_document_that_is_not_normalised(family: dict[str, Path], tmp_path: Path) -> None:
    (document,), text = documents(family, tmp_path / "out", {"method": "linear"})

    assert document == {
        "merge_method": "linear",
        "models": [
            {"model": str(family["base"]), "parameters": {"weight": 0.25}},
            {"model": str(family["a"]), "parameters": {"weight": 0.45}},
            {"model": str(family["b"]), "parameters": {"weight": 0.3}},
        ],
        "parameters": {"normalize": False},
        "dtype": "float32",
        "out_dtype": "bfloat16",
    }
    assert text.startswith("# 0.25*base + 0.45*a + 0.3*b with mergekit 0.1.5: mergekit-yaml mergekit.yaml OUT\n")


def test_stage_one_alone_leaves_the_base_out(family: dict[str, Path], tmp_path: Path) -> None:
    (document,), _ = documents(family, tmp_path / "out", {"method": "linear"}, alpha=0.0)

    assert listed(document) == {"a": 0.6, "b": 0.4}


def test_two_saves_are_two_documents(family: dict[str, Path], tmp_path: Path) -> None:
    (first, second), text = documents(family, tmp_path / "out", {"method": "two_save", "dtype": "float16"}, alpha=0.1)

    assert (first["name"], first["out_dtype"], listed(first)) == ("(stage1)", "float16", {"a": 0.6, "b": 0.4})
    assert (second["out_dtype"], listed(second)) == ("bfloat16", {"base": 0.1, "(stage1)": 0.9})
    assert first["parameters"] == second["parameters"] == {"normalize": False}
    assert "name" not in second
    assert "mergekit-multi mergekit.yaml --intermediate-dir" in text


def test_slerp_goes_from_the_base_to_stage_one(family: dict[str, Path], tmp_path: Path) -> None:
    (first, second), _ = documents(family, tmp_path / "two", {"method": "slerp"})
    (alone,), _ = documents(family, tmp_path / "one", {"method": "slerp"}, a=1.0)

    assert (first["merge_method"], first["out_dtype"]) == ("linear", "float32")
    assert second["merge_method"] == alone["merge_method"] == "slerp"
    assert second["base_model"] == alone["base_model"] == str(family["base"])
    assert listed(second) == {"base": None, "(stage1)": None}
    assert listed(alone) == {"base": None, "a": None}
    assert second["parameters"] == alone["parameters"] == {"t": 0.75}


def test_task_vectors_have_their_scale_and_density(family: dict[str, Path], tmp_path: Path) -> None:
    (added,), _ = documents(family, tmp_path / "1", {"method": "task_arithmetic", "scale": 1.3})
    ties = {"method": "ties", "scale": None, "density": 0.3, "election": "weight"}
    (trimmed,), quiet = documents(family, tmp_path / "2", ties)
    (_,), counted = documents(family, tmp_path / "3", {**ties, "election": "count"})

    assert added["merge_method"] == "task_arithmetic"
    assert added["parameters"] == {"normalize": False, "lambda": 1.3}
    assert listed(added) == {"base": None, "a": 0.6, "b": 0.4}
    assert trimmed["merge_method"] == "ties"
    assert trimmed["parameters"] == {"normalize": True, "rescale": False, "lambda": 0.75}
    assert trimmed["models"][1]["parameters"] == {"weight": 0.6, "density": 0.3}
    assert "by count" not in quiet
    assert "mergekit elects by weight only, this merge by count" in counted


@pytest.mark.parametrize(("election", "name"), [("none", "dare_linear"), ("weight", "dare_ties")])
def test_dare_says_that_the_draws_differ(family: dict[str, Path], tmp_path: Path, election: str, name: str) -> None:
    merge = {"method": "dare", "scale": 0.5, "density": 0.5, "election": election, "seed": 3}
    (document,), text = documents(family, tmp_path / "out", merge)

    assert document["merge_method"] == name
    assert document["parameters"]["normalize"] is False
    assert "# mergekit drops other values than these" in text


def test_a_scale_of_nothing_is_the_base(family: dict[str, Path], tmp_path: Path) -> None:
    (document,), _ = documents(family, tmp_path / "out", {"method": "task_arithmetic", "scale": 0.0})

    assert document["merge_method"] == "linear"
    assert listed(document) == {"base": 1.0}


def test_vocabularies_that_differ_are_left_to_mergekits_rule_with_a_word_on_it(tmp_path: Path) -> None:
    from tests.unit.merging.test_output_vocabulary import AddedToken, save_model_with

    family = {
        "base": save_tiny_model(tmp_path / "base", vocab_size=48),
        "a": save_model_with(tmp_path / "a", [AddedToken("<x>")], rows=48, seed=1),
        "b": save_model_with(tmp_path / "b", [AddedToken("<y>")], rows=47, seed=2),
    }

    (document,), text = documents(family, tmp_path / "out", {"method": "linear"})

    assert document["tokenizer"] == {"source": "union"}
    assert "# the vocabularies differ: for a token that a model lacks mergekit takes" in text


def member(source: str, folder: Path, *files: Path) -> Member:
    tensors = ArrayTensors({})
    assert tensors.specs == dict[str, TensorSpec]()
    return Member("x", source, folder, {}, tensors, files)


def test_models_are_named_as_mergekit_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    snapshot = tmp_path / "hub" / "models--owner--base-7b" / "snapshots" / COMMIT
    hub = member(f"owner/tuned@{COMMIT}", snapshot, snapshot / "model.safetensors")
    local = member("models/tuned", Path("models/tuned"), Path("models/tuned/model.safetensors"))
    files = (snapshot / "model.safetensors", tmp_path / "lora" / "adapter_model.safetensors")
    adapter = member("lora", snapshot, *files)

    assert reference(hub) == f"owner/tuned@{COMMIT}"
    assert reference(local) == str(tmp_path / "models" / "tuned")
    assert reference(adapter) == f"owner/base-7b@{COMMIT}+{tmp_path / 'lora'}"
    assert reference(replace(adapter, source=f"o/lora@{COMMIT}")) == f"owner/base-7b@{COMMIT}+o/lora@{COMMIT}"


@pytest.mark.parametrize("name", ["a model", "a+b", "a@b"])
def test_a_folder_whose_path_mergekit_cannot_read_is_pointed_out(tmp_path: Path, name: str) -> None:
    family = {"base": save_tiny_model(tmp_path / "base"), "a": save_tiny_model(tmp_path / name, seed=1)}

    _, text = documents(family, tmp_path / "out", {"method": "linear"}, a=1.0)

    assert "# move a first: mergekit stumbles over spaces" in text
