"""The written folder: what loads it finds the merge, the tokenizer as it was, and the record of all."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from bai_sweep.merging.inputs import Settings
from bai_sweep.merging.methods import Linear
from bai_sweep.merging.output import copy_tokenizer, ends_of, save_model
from bai_sweep.records import MergeRecipe, UserError
from tests.tiny import save_tiny_model, tiny_model, tiny_tokenizer
from tests.unit.merging.output_helpers import half_and_half, left_beside, tensors_in, write

ROOT = str(Path(__file__).resolve().parents[3])


@pytest.fixture
def family(tmp_path: Path) -> dict[str, Path]:
    """A base and an SFT model that a test may change."""
    return {name: save_tiny_model(tmp_path / name, seed=seed) for seed, name in enumerate(["base", "tuned"])}


@pytest.mark.parametrize("tied", [True, False])
def test_transformers_loads_what_was_merged(tmp_path: Path, tied: bool) -> None:
    family = {
        name: save_tiny_model(tmp_path / name, seed=seed, tie_word_embeddings=tied)
        for seed, name in enumerate(["base", "a", "b"])
    }

    folder = write(family, tmp_path / "out", dtype="BF16")

    model = AutoModelForCausalLM.from_pretrained(folder)
    state = model.state_dict()
    expected = half_and_half(family)
    assert model.dtype == torch.bfloat16
    assert set(tensors_in(folder)) == set(expected)
    for name, exact in expected.items():
        # the values are multiples of 2**-16 or so and the weights powers of two: float32 holds every sum exactly
        assert torch.equal(state[name], exact.to(torch.bfloat16)), name
    heads = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert heads == tied


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16"])
def test_the_same_bytes_whatever_the_shards_and_threads(
    tiny_family: dict[str, Path], tmp_path: Path, dtype: str
) -> None:
    one = write(tiny_family, tmp_path / "one", dtype=dtype, threads=1)
    many = write(tiny_family, tmp_path / "many", dtype=dtype, threads=3, max_shard_bytes=9000)

    assert len(list(many.glob("*.safetensors"))) > 3
    whole, sharded = tensors_in(one), tensors_in(many)
    assert whole.keys() == sharded.keys()
    assert all(torch.equal(whole[name], sharded[name]) for name in whole)
    loaded = AutoModelForCausalLM.from_pretrained(many).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in whole.items())


def test_nothing_travels_but_tokenizer_and_templates_and_these_byte_for_byte(
    family: dict[str, Path], tmp_path: Path
) -> None:
    texts = {
        "tokenizer.model": "\x00sentencepiece",
        "chat_templates/tool.jinja": "{{ x }}",
        "additional_chat_templates/rag.jinja": "{{ y }}",
        "special_tokens_map.json": '{"eos_token":   "<eos>"}',
    }
    strays = ["modeling_tiny.py", "pytorch_model.bin", "optimizer.pt", "README.md", "trainer_state.json", "x/y.jinja"]
    for name in [*texts, *strays]:
        (family["base"] / name).parent.mkdir(exist_ok=True)
        (family["base"] / name).write_text(texts.get(name, "of the base"))

    folder = write(family, tmp_path / "out")

    for name in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", *texts]:
        assert (folder / name).read_bytes() == (family["base"] / name).read_bytes(), name
    made = {"README.md", "config.json", "generation_config.json", "merge.json", "mergekit.yaml", "model.safetensors"}
    copied = {"chat_template.jinja", "tokenizer.json", "tokenizer_config.json", *texts}
    assert {str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file()} == made | copied
    assert (folder / "README.md").read_text() != "of the base"


def test_the_configuration_names_the_dtype_and_no_other_place(
    family: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = family["base"] / "config.json"
    config = json.loads(path.read_text())
    more = {"_name_or_path": "/elsewhere", "auto_map": {"AutoModel": "x.Y"}, "torch_dtype": "float32"}
    path.write_text(json.dumps(config | more | {"audio_config": {"dtype": "float32", "layers": 3}}))

    with caplog.at_level(logging.WARNING):
        folder = write(family, tmp_path / "out", dtype="F16")

    written = json.loads((folder / "config.json").read_text())
    assert written["dtype"] == written["torch_dtype"] == "float16"
    assert written["audio_config"] == {"dtype": "float16", "layers": 3}
    assert written["transformers_version"] == config["transformers_version"]
    assert written["architectures"] == ["LlamaForCausalLM"]
    assert "_name_or_path" not in written
    assert "auto_map" not in written
    assert "code of their own" in caplog.text


def test_every_models_end_ends_a_response_of_the_folder_also_of_one_that_is_not_read(
    family: dict[str, Path], tmp_path: Path
) -> None:
    family["unread"] = save_tiny_model(tmp_path / "unread", seed=5, eos_token_id=[30, 2])
    settings = {"temperature": 0.6, "do_sample": True, "eos_token_id": 33, "_from_model_config": True}
    (family["base"] / "generation_config.json").write_text(json.dumps(settings))

    folder = write(family, tmp_path / "out", read=["base", "tuned"])

    written = json.loads((folder / "generation_config.json").read_text())
    assert written == {"temperature": 0.6, "do_sample": True, "eos_token_id": [2, 30, 33]}
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.generation_config.eos_token_id == [2, 30, 33]
    first = int(model.generate(torch.tensor([[1, 7]]), do_sample=False, max_new_tokens=1)[0, -1])
    model.generation_config.eos_token_id = [2, first]
    assert model.generate(torch.tensor([[1, 7]]), do_sample=False, max_new_tokens=9).shape == (1, 3)


def test_a_model_without_generation_settings_gets_some_from_its_configuration(
    family: dict[str, Path], tmp_path: Path
) -> None:
    (family["base"] / "generation_config.json").unlink()

    folder = write(family, tmp_path / "out")

    written = json.loads((folder / "generation_config.json").read_text())
    assert written == {"bos_token_id": 1, "pad_token_id": 0, "eos_token_id": 2}


def test_ends_are_joined_from_configurations_and_generation_settings(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "generation_config.json").write_text('{"eos_token_id": [7, 9]}')
    configs: dict[str, dict[str, Any]] = {"a": {"eos_token_id": 3}, "b": {"text_config": {"eos_token_id": 5}}, "c": {}}

    assert ends_of({name: Settings(name, tmp_path / name, config) for name, config in configs.items()}) == [3, 5, 7, 9]


def test_a_model_that_is_not_read_is_in_the_record_with_its_source(family: dict[str, Path], tmp_path: Path) -> None:
    folder = write(family, tmp_path / "out", method=Linear(0.0, {"tuned": 1.0}), read=["tuned"])

    record = json.loads((folder / "merge.json").read_text())
    assert record["sources"] == {name: str(place) for name, place in family.items()}
    assert record["vocabulary"]["tokenizer"] == "base"
    assert f"| base | `{family['base']}` | 0 |" in (folder / "README.md").read_text()


def test_an_input_that_changes_while_it_is_merged_is_named_and_nothing_is_left(
    family: dict[str, Path], tmp_path: Path
) -> None:
    file = family["tuned"] / "model.safetensors"

    def touch(done: int) -> None:
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)

    with pytest.raises(UserError, match=r"tuned: .*model\.safetensors changed while it was merged"):
        write(family, tmp_path / "out", on_progress=touch)

    assert left_beside(tmp_path / "out") == []


def test_broken_generation_settings_are_named(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text("{")

    with pytest.raises(UserError, match=r"generation_config.json: this is no JSON: .*; fetch it again"):
        ends_of({"a": Settings("a", tmp_path, {})})


@pytest.mark.parametrize("value", ['"</s>"', "[2, null]", "true", "2.5"])
def test_an_end_that_is_no_token_id_is_refused(tmp_path: Path, value: str) -> None:
    (tmp_path / "generation_config.json").write_text(f'{{"eos_token_id": {value}}}')

    with pytest.raises(UserError, match=r"generation_config.json: eos_token_id is a token's id or a list of ids; got"):
        ends_of({"a": Settings("a", tmp_path, {})})


def test_a_tokenizer_s_file_that_cannot_be_copied_is_named(tmp_path: Path) -> None:
    (tmp_path / "from" / "vocab.txt").mkdir(parents=True)
    (tmp_path / "to").mkdir()

    with pytest.raises(UserError, match=r"vocab.txt: a tokenizer's file cannot be copied \(Is a directory\); check"):
        copy_tokenizer(tmp_path / "from", tmp_path / "to")


def test_inputs_are_recorded_where_they_are_wherever_one_stood(
    family: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = family["base"].parent
    monkeypatch.chdir(place)

    folder = write({name: path.relative_to(place) for name, path in family.items()}, tmp_path / "out")

    record = json.loads((folder / "merge.json").read_text())
    assert [files[0]["file"] for files in record["inputs"].values()] == [
        str(path / "model.safetensors") for path in family.values()
    ]


def test_the_manifest_says_what_was_read_and_written(family: dict[str, Path], tmp_path: Path) -> None:
    class Seen:
        def see(self, block: object, merged: object) -> None:
            """Looks on."""

        def summary(self) -> dict[str, Any]:
            return {"cosine": float("nan"), "layers": ({"layer": 0, "distance": 1.5},)}

    folder = write(family, tmp_path / "out", dtype="BF16", command="python -m bai_sweep.merge ...", geometry=Seen())

    record = json.loads((folder / "merge.json").read_text(), parse_constant=pytest.fail)
    assert record["formula"] == "0.5*base + 0.5*tuned"
    assert record["method"] == "linear"
    assert record["weights"] == {"base": 0.5, "tuned": 0.5}
    assert record["sources"] == {name: str(place) for name, place in family.items()}
    assert record["dtype"] == "bfloat16"
    for name, place in family.items():
        file = place / "model.safetensors"
        expected = {"file": str(file), "bytes": file.stat().st_size, "sha256": sha256(file.read_bytes()).hexdigest()}
        assert record["inputs"][name] == [expected]
    assert {row["file"]: row["bytes"] for row in record["outputs"]} == {
        file.name: file.stat().st_size for file in folder.iterdir() if file.name != "merge.json"
    }
    assert record["vocabulary"]["rows"] == 46
    assert record["vocabulary"]["missing_tokens"] == "mean"
    assert record["geometry"] == {"cosine": None, "layers": [{"layer": 0, "distance": 1.5}]}
    assert record["command"] == "python -m bai_sweep.merge ..."
    assert set(record["versions"]) == {"bai_sweep", "python", "numpy"}
    assert record["created"].endswith("+00:00")
    assert any("seem to come of one base" in doubt for doubt in record["doubts"])


def test_two_runs_differ_in_nothing_but_the_time(family: dict[str, Path], tmp_path: Path) -> None:
    one = write(family, tmp_path / "one" / "merge", threads=1)
    two = write(family, tmp_path / "two" / "merge", threads=2)

    files = sorted(str(f.relative_to(one)) for f in one.rglob("*") if f.is_file())
    assert files == sorted(str(f.relative_to(two)) for f in two.rglob("*") if f.is_file())
    for name in files:
        if name != "merge.json":
            assert (one / name).read_bytes() == (two / name).read_bytes(), name
    first, second = (json.loads((folder / "merge.json").read_text()) for folder in (one, two))
    assert {**first, "created": 0} == {**second, "created": 0}


def test_the_card_has_a_header_that_the_hub_reads(family: dict[str, Path], tmp_path: Path) -> None:
    folder = write(family, tmp_path / "my-merge", command="python -m bai_sweep.merge alpha=0.5")

    card = (folder / "README.md").read_text()
    _, header, text = card.split("---\n", 2)
    assert yaml.safe_load(header) == {"library_name": "transformers", "tags": ["merge", "bai_sweep"]}
    assert "# my-merge" in text
    assert "    0.5*base + 0.5*tuned\n" in text
    assert f"| tuned | `{family['tuned']}` | 0.5 |" in text
    assert "    python -m bai_sweep.merge alpha=0.5\n" in text
    assert "## Doubts\n\n- tuned and base do not seem to come of one base" in text


def test_integer_tensors_that_agree_are_copied(family: dict[str, Path], tmp_path: Path) -> None:
    buffer = {"model.position_ids": torch.arange(5)}
    for place in family.values():
        tensors = load_file(place / "model.safetensors")
        save_file({**tensors, **buffer}, place / "model.safetensors", metadata={"format": "pt"})

    folder = write(family, tmp_path / "out", dtype="F16")
    assert torch.equal(tensors_in(folder)["model.position_ids"], torch.arange(5))
    assert tensors_in(folder)["model.norm.weight"].dtype == torch.float16

    tensors = load_file(family["tuned"] / "model.safetensors")
    tensors["model.position_ids"] = torch.arange(1, 6)
    save_file(tensors, family["tuned"] / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"position_ids: I64, which is copied .* differs between base and tuned"):
        write(family, tmp_path / "other")
    assert not (tmp_path / "other").exists()
    assert left_beside(tmp_path / "other") == []


def test_a_value_too_large_for_float16_leaves_no_folder(family: dict[str, Path], tmp_path: Path) -> None:
    tensors = load_file(family["base"] / "model.safetensors")
    tensors["model.norm.weight"][3] = 2e5
    save_file(tensors, family["base"] / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(
        UserError, match=r"model.norm.weight, element 3: 99840.5 .* F16 holds; .*; nothing was left at"
    ):
        write(family, tmp_path / "out", dtype="F16")

    assert left_beside(tmp_path / "out") == []


def test_a_merge_to_a_folder_that_exists_reads_nothing(family: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()

    with pytest.raises(UserError, match="nothing is overwritten"):
        write(family, tmp_path / "out", on_progress=lambda _: pytest.fail("something was merged"))


def test_a_merge_imports_no_torch(family: dict[str, Path], tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from bai_sweep.merging._plan import plan_merge
from bai_sweep.merging.inputs import open_members
from bai_sweep.merging.methods import Linear
from bai_sweep.merging.output import write_model
from bai_sweep.records import MergeRecipe
sources = {{"base": {str(family["base"])!r}, "tuned": {str(family["tuned"])!r}}}
with open_members(sources) as members:
    plan = plan_merge(members, tokenizer="base", vocabulary="union", missing_tokens="mean")
    write_model(plan, Linear(0.5, {{"tuned": 1.0}}), MergeRecipe({{"base": 0.5, "tuned": 0.5}}, sources),
                Path({str(tmp_path / "out")!r}), dtype="BF16", max_shard_bytes=10**9, threads=1, geometry=None)
print(sorted({{"torch", "transformers", "safetensors"}} & set(sys.modules)))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)

    assert run.stdout == "[]\n"


def test_a_live_model_is_saved_with_its_recipe_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = tiny_model(3), tiny_tokenizer()
    recipe = MergeRecipe({"base": 0.5, "a": 0.5}, {"base": "x", "a": "y"}, "ties", {"density": 0.3})

    folder = save_model(model, tokenizer, recipe, tmp_path / "a" / "b", dtype=torch.bfloat16, trained="by PPO")

    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    state = model.state_dict()
    assert all(torch.equal(tensor, state[name].bfloat16()) for name, tensor in loaded.state_dict().items())
    assert AutoTokenizer.from_pretrained(folder).chat_template == tokenizer.chat_template
    record = json.loads((folder / "merge.json").read_text())
    assert record["formula"] == "ties(0.5*base + 0.5*a; density=0.3)"
    assert record["trained"] == "by PPO"
    with pytest.raises(UserError, match="nothing is overwritten"):
        save_model(model, tokenizer, recipe, folder)

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(tokenizer, "save_pretrained", broken)
    with pytest.raises(RuntimeError, match="no"):
        save_model(model, tokenizer, recipe, tmp_path / "c")
    assert left_beside(tmp_path / "c") == []


def test_stage_one_alone_copies_a_single_model_bit_for_bit(family: dict[str, Path], tmp_path: Path) -> None:
    recipe = MergeRecipe({"tuned": 1.0}, {"tuned": str(family["tuned"])})

    folder = write(
        family, tmp_path / "out", read=["tuned"], method=Linear(0.0, {"tuned": 1.0}), recipe=recipe, dtype="BF16"
    )

    stored = load_file(family["tuned"] / "model.safetensors")
    found = tensors_in(folder)
    assert found.keys() == stored.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in stored.items())
