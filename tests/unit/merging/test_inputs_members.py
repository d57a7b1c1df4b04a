"""Opening the models of a merge: whose base an adapter takes, where a tokenizer is, what is closed."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from bai_sweep.merging._types import Tensors
from bai_sweep.merging.inputs import open_members, settings_of
from bai_sweep.records import UserError
from tests.unit.merging.inputs_helpers import exact, stored_bytes, values_of, write

RANDOM = np.random.default_rng(11)
LAYER = "layers.0.q_proj"
OLD, NEW = "a" * 40, "b" * 40


def model(folder: Path, shift: float = 0.0, **config: object) -> Path:
    """A model of one tensor."""
    weights = stored_bytes(np.arange(12.0).reshape(3, 4) + shift, "BF16")
    write(folder / "model.safetensors", {f"{LAYER}.weight": weights})
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **config}))
    (folder / "tokenizer.json").write_text("{}")
    return folder


def adapter(folder: Path, base: object, **changes: object) -> Path:
    """A LoRA that adds 1 to every weight."""
    factors = {"A": np.ones((2, 4)), "B": np.full((3, 2), 0.25)}
    tensors = {f"base_model.model.{LAYER}.lora_{n}.weight": stored_bytes(v, "F32") for n, v in factors.items()}
    write(folder / "adapter_model.safetensors", tensors)
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "base_model_name_or_path": str(base), **changes}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


def require_values(tensors: Tensors, shift: float) -> None:
    expected = np.arange(12.0).reshape(3, 4) + shift
    np.testing.assert_array_equal(values_of(tensors, f"{LAYER}.weight"), expected)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def snapshot(cache: Path, commit: str, shift: float) -> Path:
    return model(cache / "models--owner--base" / "snapshots" / commit, shift, commit=commit)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache with two commits of owner/base, `main` the newer, `v1` the older; no network."""
    root = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(root))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    snapshot(root, OLD, 100.0)
    snapshot(root, NEW, 200.0)
    references = root / "models--owner--base" / "refs"
    references.mkdir()
    (references / "main").write_text(NEW)
    (references / "v1").write_text(OLD)
    return root


def test_members_come_as_they_are_named(tmp_path: Path) -> None:
    base, sft = model(tmp_path / "base", vocab_size=7), model(tmp_path / "sft", shift=5.0)

    with open_members({"instruct": str(sft), "base": str(base)}) as members:
        assert list(members) == ["instruct", "base"]
        assert [(m.name, m.source, m.folder) for m in members.values()] == [
            ("instruct", str(sft), sft),
            ("base", str(base), base),
        ]
        assert members["base"].config == {"model_type": "llama", "vocab_size": 7}
        assert members["instruct"].files == (sft / "model.safetensors",)
        require_values(members["base"].tensors, 0.0)
        require_values(members["instruct"].tensors, 5.0)


def test_every_file_is_closed_on_the_way_out_and_after_an_error(tmp_path: Path) -> None:
    base = model(tmp_path / "base")
    adapted = adapter(tmp_path / "adapter", base)
    before = open_files()

    with open_members({"base": str(base), "sft": str(adapted)}):
        assert open_files() == before + 2
    assert open_files() == before
    (adapted / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="fetch it again"), open_members({"base": str(base), "sft": str(adapted)}):
        pass
    assert open_files() == before


def test_an_adapter_shares_the_merges_base(tmp_path: Path) -> None:
    base = model(tmp_path / "base")
    (tmp_path / "link").symlink_to(base)
    adapted = adapter(tmp_path / "adapter", tmp_path / "link")
    before = open_files()

    with open_members({"sft": str(adapted), "base": str(base)}) as members:
        assert open_files() == before + 2
        require_values(members["sft"].tensors, 1.0)
        require_values(members["base"].tensors, 0.0)
        assert members["sft"].files == (base / "model.safetensors", adapted / "adapter_model.safetensors")
        assert members["sft"].config == members["base"].config


def test_adapters_of_one_base_open_it_once_without_the_merges(tmp_path: Path) -> None:
    base = model(tmp_path / "base")
    sources = {name: str(adapter(tmp_path / name, base)) for name in ("one", "two")}
    before = open_files()

    with open_members(sources) as members:
        assert open_files() == before + 3
        for member in members.values():
            require_values(member.tensors, 1.0)


def test_an_adapter_of_another_base_opens_its_own(tmp_path: Path) -> None:
    base, other = model(tmp_path / "base"), model(tmp_path / "other", shift=40.0, tie_word_embeddings=True)

    with open_members({"base": str(base), "sft": str(adapter(tmp_path / "adapter", other))}) as members:
        require_values(members["sft"].tensors, 41.0)
        require_values(members["base"].tensors, 0.0)
        assert members["sft"].config["tie_word_embeddings"] is True


def test_a_base_may_be_named_as_seen_from_the_adapter(tmp_path: Path) -> None:
    model(tmp_path / "base")

    with open_members({"sft": str(adapter(tmp_path / "runs" / "adapter", "../../base"))}) as members:
        require_values(members["sft"].tensors, 1.0)


@pytest.mark.parametrize(
    ("base", "revision", "commit"),
    [
        (None, None, NEW),
        (None, "v1", OLD),
        (None, OLD, OLD),
        ("owner/base@v1", None, OLD),  # whatever revision the merge has
        ("owner/base@v1", "main", OLD),
        ("owner/base@v1", "v1", OLD),
        (f"owner/base@{OLD}", NEW, NEW),
        ("owner/base", OLD, OLD),
    ],
)
@pytest.mark.parametrize("member", [True, False])
def test_a_base_on_the_hub_is_read_at_the_merges_commit_or_at_the_adapters(
    cache: Path, tmp_path: Path, *, base: str | None, revision: str | None, commit: str, member: bool
) -> None:
    sources = {"sft": str(adapter(tmp_path / "adapter", "owner/base", revision=revision))}
    if base and member:
        sources["base"] = base

    with open_members(sources, base=None if member else base) as members:
        require_values(members["sft"].tensors, 101.0 if commit == OLD else 201.0)
        assert members["sft"].config["commit"] == commit
        assert members["sft"].folder == cache / "models--owner--base" / "snapshots" / commit


def test_an_adapter_on_the_hub_is_pinned_too(cache: Path) -> None:
    folder = adapter(cache / "models--owner--adapter" / "snapshots" / OLD, "owner/base")
    (cache / "models--owner--adapter" / "refs").mkdir()
    (cache / "models--owner--adapter" / "refs" / "main").write_text(OLD)

    with open_members({"sft": "owner/adapter"}) as members:
        assert members["sft"].source == f"owner/adapter@{OLD}"
        assert members["sft"].files[-1] == folder / "adapter_model.safetensors"
        require_values(members["sft"].tensors, 201.0)


@pytest.mark.parametrize("weights", [True, False])
def test_an_adapters_tokenizer_is_its_own_if_it_has_one(tmp_path: Path, weights: bool) -> None:
    base = model(tmp_path / "base", vocab_size=9)
    without, own = adapter(tmp_path / "without", base), adapter(tmp_path / "own", base)
    (own / "tokenizer_config.json").write_text("{}")
    sources = {"without": str(without), "own": str(own)}

    if weights:
        with open_members(sources) as members:
            found = {name: (m.source, m.folder, m.config["vocab_size"]) for name, m in members.items()}
    else:
        found = {name: (s.source, s.folder, s.config["vocab_size"]) for name, s in settings_of(sources).items()}

    assert found == {"without": (str(without), base, 9), "own": (str(own), own, 9)}


@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("/not/here", "no such folder: '/not/here'"),
        ("nowhere", "no such folder: 'nowhere'"),
        ("owner/absent", "'owner/absent' could not be read"),
        ("../adapter", "is an adapter; make it a model with PEFT"),
    ],
)
def test_a_base_that_is_not_found_is_said_with_the_way_to_name_it(
    cache: Path, tmp_path: Path, *, base: str, said: str, weights: bool
) -> None:
    del cache
    folder = adapter(tmp_path / "adapter", base)
    sources = {"sft": str(folder)}

    with pytest.raises(UserError, match=said) as caught, open_members(sources) if weights else nullcontext():
        settings_of(sources)

    assert f"the base of the adapter {folder}" in str(caught.value)
    assert "write its folder into base_model_name_or_path in adapter_config.json" in str(caught.value)


def test_a_quantised_base_is_said_to_be_the_adapters(tmp_path: Path) -> None:
    base = model(tmp_path / "base", quantization_config={"quant_method": "bitsandbytes"})

    with (
        pytest.raises(UserError, match=r"the base of the adapter .*a quantised checkpoint \(bitsandbytes\)"),
        open_members({"sft": str(adapter(tmp_path / "adapter", base))}),
    ):
        pass


def test_an_adapter_of_eight_bits_is_refused(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", model(tmp_path / "base"))
    module = f"base_model.model.{LAYER}"
    factors = {f"{module}.lora_A.weight": ("F8_E4M3", [2, 4], bytes(8))}
    factors |= {f"{module}.lora_B.weight": ("F8_E4M3", [3, 2], bytes(6))}
    write(folder / "adapter_model.safetensors", factors)

    with (
        pytest.raises(UserError, match=r"a quantised checkpoint cannot be merged, and \S+ is F8_E4M3"),
        open_members({"sft": str(folder)}),
    ):
        pass


def test_a_folder_that_is_both_is_refused(tmp_path: Path) -> None:
    both = adapter(model(tmp_path / "both"), "owner/base")

    with pytest.raises(UserError, match=r"it has adapter_config\.json and model\.safetensors"):
        settings_of({"base": str(both)})


def test_a_pickled_adapter_is_refused(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", model(tmp_path / "base"))
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")

    with (
        pytest.raises(UserError, match=r"weights are read from adapter_model\.safetensors, and it has none"),
        open_members({"sft": str(folder)}),
    ):
        pass


@pytest.mark.parametrize(
    ("text", "said"), [(None, "cannot be read"), ("[1]", "this is a list"), ("{", "this is no JSON")]
)
def test_a_model_without_a_configuration_is_refused(tmp_path: Path, text: str | None, said: str) -> None:
    folder = model(tmp_path / "base")
    (folder / "config.json").unlink()
    if text is not None:
        (folder / "config.json").write_text(text)

    with pytest.raises(UserError, match=said) as caught, open_members({"base": str(folder)}):
        pass
    assert str(folder / "config.json") in str(caught.value)


def test_fused_experts_of_a_base_pass_through_an_adapter(tmp_path: Path) -> None:
    base = model(tmp_path / "base")
    experts = stored_bytes(RANDOM.standard_normal((2, 3, 5)), "F16")
    replaced = stored_bytes(RANDOM.standard_normal((2, 3, 5)), "F16")
    names = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    write(base / "model.safetensors", dict.fromkeys(names, experts) | {f"{LAYER}.weight": ("F32", [3, 4], bytes(48))})
    folder = adapter(tmp_path / "adapter", base)
    write(folder / "adapter_model.safetensors", {f"base_model.model.{names[1]}": replaced})

    with open_members({"sft": str(folder)}) as members:
        tensors = members["sft"].tensors
        np.testing.assert_array_equal(values_of(tensors, names[0]), exact(experts))
        np.testing.assert_array_equal(values_of(tensors, names[1]), exact(replaced))


def test_importing_this_room_imports_neither_torch_nor_the_hubs_client() -> None:
    code = (
        "import sys, bai_sweep.merging.inputs._members as m; "
        "print([n for n in ('torch', 'transformers', 'huggingface_hub', 'safetensors') if n in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"


def test_the_merges_base_is_not_looked_up_where_nobody_needs_it(cache: Path, tmp_path: Path) -> None:
    del cache
    sources = {"whole": str(model(tmp_path / "whole")), "sft": str(adapter(tmp_path / "sft", "owner/base"))}

    with open_members(sources, base="owner/absent") as members:
        require_values(members["whole"].tensors, 0.0)
        require_values(members["sft"].tensors, 201.0)
