"""The folder of a promoted model: the trial's actor, bit for bit, in a form that loaders take."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from bai_sweep.merging import Provenance, initialise, release, write_actor
from bai_sweep.promotion import _folder, promote
from bai_sweep.promotion._setup import read_setup
from bai_sweep.records import Diagnosis, TrialResult, UserError
from tests.synthetic import verdict
from tests.tiny import save_tiny_model
from tests.unit.promotion.promotion_helpers import Person, changed, configured, finish, request, study

METHODS = {
    "linear": (),
    "two_save": ("actor.merge.dtype=bfloat16",),
    "slerp": (),
    "task_arithmetic": (),
    "ties": ("actor.merge.density=0.3",),
    "dare": ("actor.merge.density=0.5",),
    "depth": ("actor.merge.layers.first=0.1", "actor.merge.layers.last=0.9", "actor.merge.parts.norms=1"),
}


@pytest.fixture(autouse=True)
def _released() -> Iterator[None]:
    yield
    release()


def promoted(folder: Path, **changes: Any) -> Path:
    person = Person()
    return promote(request(folder, **changes), say=person.say, agree=person.agree).folder.path


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    found = {}
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as opened:
            found |= {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a mapping
    return found


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "merge.json").read_text())
    return found


def read_logits(model: Any, tokenizer: Any) -> torch.Tensor:
    ids = tokenizer("Where does Bo live? 12 + 30 =", return_tensors="pt").input_ids
    with torch.no_grad():
        logits: torch.Tensor = model(ids).logits
    return logits


@pytest.mark.parametrize(("method", "settings"), METHODS.items())
def test_any_merge_of_a_study_is_promoted_bit_for_bit(method: str, settings: tuple[str, ...], tmp_path: Path) -> None:
    folder = study(
        tmp_path, {0: ("alpha=0.3", "weights={instruct: 0.2, distilled: 0.8}")}, f"actor/merge={method}", *settings
    )

    out = promoted(folder)

    setup = read_setup(folder / "trials" / "0", None, {})
    live = initialise(setup.model, setup.actor).model.state_dict()
    written = tensors(out)
    assert written.keys() <= live.keys()
    assert all(torch.equal(tensor, live[name]) for name, tensor in written.items())
    assert manifest(out)["actor"]["sha256"] == TrialResult.load(folder / "trials" / "0").recipe.digest
    assert manifest(out)["method"] == method


@pytest.mark.parametrize("actor", ["paradigm1", "paradigm2", "stage1"])
def test_actors_that_are_checkpoints_are_promoted_as_well(actor: str, tmp_path: Path) -> None:
    folder = study(tmp_path, {0: ()}, f"actor={actor}")

    out = promoted(folder)

    setup = read_setup(folder / "trials" / "0", None, {})
    live = initialise(setup.model, setup.actor).model.state_dict()
    assert all(torch.equal(tensor, live[name]) for name, tensor in tensors(out).items())


def test_transformers_loads_it_and_gives_the_logits_of_the_live_merge(tmp_path: Path) -> None:
    config = configured("alpha=0.4")
    out = promoted(study(tmp_path, {0: ("alpha=0.4",)}))

    live = initialise(config.model, config.actor)
    model = AutoModelForCausalLM.from_pretrained(out)
    tokenizer = AutoTokenizer.from_pretrained(out)

    assert model.dtype == torch.float32
    assert tokenizer.chat_template == live.tokenizer.chat_template
    assert torch.equal(read_logits(model, tokenizer), read_logits(live.model, live.tokenizer))
    assert [model.generation_config.eos_token_id] == live.model.generation_config.eos_token_id


def test_it_has_what_vllms_loader_reads(tmp_path: Path) -> None:
    """vLLM picks the class by `architectures`, the files by the index, and stops at a tensor that the class lacks."""
    trial, out = configured(), tmp_path / "out"
    write_actor(trial.model, trial.actor, out, dtype="float32", provenance=Provenance(), max_shard_bytes=500_000)

    config = json.loads((out / "config.json").read_text())
    index = json.loads((out / "model.safetensors.index.json").read_text())
    written = tensors(out)
    model = AutoModelForCausalLM.from_pretrained(out)
    assert config["architectures"] == [type(model).__name__]
    assert config["dtype"] == "float32"
    assert len(list(out.glob("model-*.safetensors"))) > 1
    assert index["weight_map"].keys() == written.keys()
    assert {out / file for file in index["weight_map"].values()} == set(out.glob("*.safetensors"))
    for name, file in index["weight_map"].items():
        with safe_open(out / file, "pt") as opened:
            assert name in opened.keys()  # noqa: SIM118
    assert index["metadata"]["total_size"] == sum(t.numel() * t.element_size() for t in written.values())
    assert config["tie_word_embeddings"] is True
    assert "lm_head.weight" not in written
    assert written.keys() == dict(model.named_parameters()).keys()
    assert {"tokenizer.json", "tokenizer_config.json", "generation_config.json"} <= {p.name for p in out.iterdir()}
    assert not list(out.glob("*.bin"))
    assert not list(out.glob("*.py"))


@pytest.mark.parametrize(
    ("trained", "written"),
    [("bfloat16", "float32"), ("bfloat16", "bfloat16"), ("float32", "bfloat16"), ("float32", "float16")],
)
def test_other_dtypes_are_the_same_merge_rounded_once(trained: str, written: str, tmp_path: Path) -> None:
    folder = study(tmp_path, {0: ("alpha=0.3",)}, f"model.dtype={trained}")

    out = promoted(folder, dtype=written)

    config = configured("alpha=0.3")
    wide = initialise(config.model, config.actor).model.state_dict()
    found = tensors(out)
    assert all(torch.equal(tensor, wide[name].to(getattr(torch, written))) for name, tensor in found.items())
    assert json.loads((out / "config.json").read_text())["dtype"] == written
    assert out.name == ("s-trial-0" if written == "float32" else f"s-trial-0-{written}")


def test_card_and_manifest_say_where_it_comes_from(tmp_path: Path) -> None:
    folder = study(tmp_path, {0: ("alpha=0.3",), 1: ("alpha=0.7",)})

    out = promoted(folder)

    card, rows = (out / "README.md").read_text(), manifest(out)
    promotion = rows["promotion"]
    assert (promotion["study"], promotion["trial"], promotion["params"]) == ("s", 0, {"alpha": 0.3})
    assert promotion["verdict"] == "stable"
    assert promotion["scores"] == [{"benchmark": "knowledge", "value": 90.0, "stderr": 10.0, "n": 10, "metric": "acc"}]
    assert promotion["overall"] == 90.0
    assert promotion["training"] == "ppo, 50 steps"
    assert promotion["inputs"].keys() == {"base", "instruct", "distilled"}
    assert rows["command"] == "python -m bai_sweep promote study=s"
    assert {row["sha256"] for files in rows["inputs"].values() for row in files} == {
        files["model.safetensors"] for files in promotion["inputs"].values()
    }
    assert "study `s`, trial 0 (alpha=0.3): recommended" in card
    assert "| knowledge | 90.0 ± 10.0 | 10 | acc |" in card
    assert "after PPO from this model (ppo, 50 steps); the weights here are those before it" in card
    assert promotion["choice"] in card
    assert promotion["scores_command"] in card
    assert (out / "mergekit.yaml").read_text().startswith("# 0.3*base")


def test_the_recommended_trial_is_taken_unless_another_is_named(tmp_path: Path) -> None:
    folder = study(tmp_path, {0: ("alpha=0.3",), 1: ("alpha=0.7",)})
    person = Person()

    one = promote(request(folder), say=person.say, agree=person.agree)
    other = promote(request(folder, trial=1), say=person.say, agree=person.agree)

    assert (one.folder.promotion["trial"], other.folder.promotion["trial"]) == (0, 1)
    assert "eligible, not the recommended one" in other.folder.promotion["standing"]
    assert "recommended is trial 0" in person.heard[2]
    with pytest.raises(UserError, match="no trial 7; there are: 0, 1"):
        promoted(folder, trial=7)


def test_a_second_call_takes_the_finished_folder(tmp_path: Path) -> None:
    folder = study(tmp_path, {0: ()})
    first = promoted(folder)
    before = {path: path.stat().st_mtime_ns for path in first.iterdir()}

    again = promote(request(folder), say=print, agree=Person().agree)

    assert again.folder.reused
    assert {path: path.stat().st_mtime_ns for path in again.folder.path.iterdir()} == before


def test_a_finished_folder_whose_weights_were_changed_is_refused(tmp_path: Path) -> None:
    folder = study(tmp_path, {0: ()})
    weights = promoted(folder) / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-3] ^= 1
    weights.write_bytes(data)

    with pytest.raises(UserError, match="not the actor that trial 0 started from"):
        promoted(folder)
    weights.write_bytes(data[:-4])
    with pytest.raises(UserError, match=r"not whole any more: model\.safetensors"):
        promoted(folder)


def test_another_folder_is_never_overwritten(tmp_path: Path) -> None:
    folder = study(tmp_path, {0: ("alpha=0.3",), 1: ("alpha=0.7",)})
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years")

    with pytest.raises(UserError, match=r"mine exists and is not this promotion's .*nothing is overwritten"):
        promoted(folder, out=str(mine))
    first = promoted(folder, out=str(tmp_path / "model"))
    with pytest.raises(UserError, match="trial 0, not 1"):
        promoted(folder, trial=1, out=str(first))
    with pytest.raises(UserError, match="dtype 'float32', not 'bfloat16'"):
        promoted(folder, out=str(first), dtype="bfloat16")

    assert [path.name for path in mine.iterdir()] == ["thesis.tex"]
    assert manifest(first)["promotion"]["trial"] == 0


def own_models(tmp_path: Path) -> list[str]:
    places = {
        name: save_tiny_model(tmp_path / name, seed) for seed, name in enumerate(("base", "instruct", "distilled"))
    }
    sources = (f"model.{'base' if name == 'base' else f'sft.{name}'}={place}" for name, place in places.items())
    return ["model=own", *sources, "model.dtype=float32"]


def test_models_that_changed_since_are_refused_with_the_difference(tmp_path: Path) -> None:
    folder = study(tmp_path, {0: ()}, *own_models(tmp_path))
    save_tiny_model(tmp_path / "instruct", seed=9)
    (tmp_path / "distilled" / "chat_template.jinja").write_text("other")

    with pytest.raises(UserError) as refused:
        promoted(folder)

    assert "instruct: model.safetensors had sha256 " in str(refused.value)
    assert "distilled: chat_template.jinja had sha256 " in str(refused.value)
    assert "base:" not in str(refused.value)
    assert not (folder / "promoted").exists()


def test_models_that_moved_are_found_where_one_says(tmp_path: Path) -> None:
    folder = study(tmp_path, {0: ()}, *own_models(tmp_path))
    (tmp_path / "base").rename(tmp_path / "moved")

    with pytest.raises(UserError, match=r"name its place: model\.base=<folder>"):
        promoted(folder)
    with pytest.raises(UserError, match=r"has the models base, instruct, distilled; got a place for teacher"):
        promoted(folder, moved={"teacher": str(tmp_path)})
    out = promoted(folder, moved={"base": str(tmp_path / "moved")})

    assert manifest(out)["sources"]["base"] == str(tmp_path / "moved")
    assert manifest(out)["actor"]["checked"].endswith("bit for bit")


def test_a_merge_that_is_not_the_trials_leaves_nothing(tmp_path: Path) -> None:
    folder = study(tmp_path, {0: ()})
    recipe = TrialResult.load(folder / "trials" / "0").recipe
    changed(folder, 0, recipe=replace(recipe, digest="0" * 64))

    with pytest.raises(UserError, match="not the actor that trial 0 started from"):
        promoted(folder)
    with pytest.raises(UserError, match="not the actor that trial 0 started from"):
        promoted(folder, dtype="bfloat16")

    assert list((folder / "promoted").iterdir()) == []


def test_a_trial_of_an_earlier_version_is_merged_anew_and_it_is_said(tmp_path: Path) -> None:
    folder = study(tmp_path, {0: ()})
    recipe = TrialResult.load(folder / "trials" / "0").recipe
    changed(folder, 0, recipe=replace(recipe, digest=None, inputs={}))

    out = promoted(folder)

    assert "noted no digest" in manifest(out)["actor"]["checked"]


@pytest.mark.parametrize("ending", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_what_is_ended_early_leaves_nothing(
    ending: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = study(tmp_path, {0: ()})

    def ended(*_: object) -> None:
        raise ending

    with monkeypatch.context() as patched:
        patched.setattr(_folder, "prove", ended)  # when all weights are written
        with pytest.raises((KeyboardInterrupt, UserError), match=r"disk full|^$"):
            promoted(folder)

    assert list((folder / "promoted").iterdir()) == []
    assert promoted(folder).is_dir()


# --- who may be promoted ---


def test_an_ineligible_trial_needs_force_and_a_reason_which_are_recorded(tmp_path: Path) -> None:
    folder = study(tmp_path, {0: ("alpha=0.3",), 1: ("alpha=0.7",)})
    collapse = Diagnosis((verdict("length_collapse", "certain", onset=7),), 1.0, 0.2)
    changed(folder, 0, diagnosis=collapse)

    with pytest.raises(UserError, match=r"trial 0 of study s is not eligible: length collapse is certain from step 7"):
        promoted(folder, trial=0)
    with pytest.raises(UserError, match="force=true needs a reason"):
        promoted(folder, trial=0, force=True, reason="  ")
    with pytest.raises(UserError, match="a reason is for force=true"):
        promoted(folder, trial=1, reason="demo")
    assert not (folder / "promoted").exists()
    out = promoted(folder, trial=0, force=True, reason="a demo of\ncollapse")

    promotion = manifest(out)["promotion"]
    assert promotion["forced"] == "a demo of collapse"
    assert promotion["fault"] == "length collapse is certain from step 7"
    assert (
        "**promoted although it is not eligible**: length collapse is certain from step 7. Reason: a demo of collapse"
        in (out / "README.md").read_text()
    )
    with pytest.raises(UserError, match="forced 'a demo of collapse', not 'another'"):
        promoted(folder, trial=0, force=True, reason="another")


def test_the_studys_own_rule_decides(tmp_path: Path) -> None:
    folder = study(tmp_path, {0: (), 1: ("alpha=0.7",)}, "selection.max_kl=0.5")

    with pytest.raises(UserError, match=r"recommends no trial: .*final KL 1 is over max_kl 0\.5"):
        promoted(folder)


def test_trials_that_failed_were_pruned_or_go_on_are_not_eligible(tmp_path: Path) -> None:
    folder = study(tmp_path, {0: ("alpha=0.3",), 1: ("alpha=0.7",), 2: ("alpha=0.1",), 3: ("alpha=0.2",)})
    changed(folder, 1, pruned="it has collapsed")
    (folder / "trials/2/result.json").unlink()
    (folder / "trials/2/failure.txt").write_text("UserError: no memory\nTraceback ...")
    (folder / "trials/3/result.json").unlink()

    for number, why in {
        1: "ended early, it has collapsed",
        2: "it failed: UserError: no memory$",
        3: "has not finished",
    }.items():
        with pytest.raises(UserError, match=why.rstrip("$")):
            promoted(folder, trial=number)
    out = promoted(folder, trial=2, force=True, reason="its actor is wanted")

    promotion = manifest(out)["promotion"]
    assert promotion["fault"] == "it failed: UserError: no memory"
    assert promotion["overall"] is None
    assert manifest(out)["weights"]["base"] == 0.1
    assert "## Scores of the trial" not in (out / "README.md").read_text()


def test_a_seed_of_the_recommended_point_is_recommended(tmp_path: Path) -> None:
    folder = study(tmp_path, {0: ("alpha=0.3",), 1: ("alpha=0.3", "seed=1"), 2: ("alpha=0.7",)})
    for number, (alpha, seed) in enumerate([(0.3, 0), (0.3, 1), (0.7, 0)]):
        changed(folder, number, params={"alpha": alpha, "seed": seed})

    out = promoted(folder, trial=1)

    assert manifest(out)["promotion"]["standing"].startswith("recommended")


# --- what a trial's folder says of how it was set up ---


def test_hydras_record_serves_where_tracking_wrote_none_or_masked(tmp_path: Path) -> None:
    folder = study(tmp_path, {0: ("alpha=0.3",)})
    place = folder / "trials" / "0"
    (place / ".hydra").mkdir()
    (place / "artifacts" / "config.yaml").rename(place / ".hydra" / "config.yaml")
    assert manifest(promoted(folder, out=str(tmp_path / "one")))["weights"]["base"] == 0.3

    text = (place / ".hydra" / "config.yaml").read_text()
    (place / "artifacts" / "config.yaml").write_text(text.replace("testbed://base", "'***'"))
    assert manifest(promoted(folder, out=str(tmp_path / "two")))["weights"]["base"] == 0.3

    (place / ".hydra" / "config.yaml").unlink()
    (place / "artifacts" / "config.yaml").unlink()
    with pytest.raises(UserError, match="does not say how the trial was set up"):
        promoted(folder, out=str(tmp_path / "three"))


def test_relative_names_begin_where_the_trial_ran(tmp_path: Path) -> None:
    folder = study(tmp_path, {0: ()}, *own_models(tmp_path))
    place = folder / "trials" / "0"
    config = place / "artifacts" / "config.yaml"
    config.write_text(config.read_text().replace(f"{tmp_path}/", ""))
    recipe = TrialResult.load(place).recipe
    changed(
        folder,
        0,
        recipe=replace(recipe, sources={n: s.replace(f"{tmp_path}/", "") for n, s in recipe.sources.items()}),
    )
    with pytest.raises(UserError, match="no such folder"):
        promoted(folder)

    (place / "artifacts" / "environment.json").write_text(json.dumps({"cwd": str(tmp_path)}))

    assert manifest(promoted(folder))["actor"]["checked"].endswith("bit for bit")


def test_a_folder_that_is_no_study_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no study \(study\.json is not there\)"):
        request(tmp_path)
    (tmp_path / "study.json").write_text('{"command": "", "config": {}}')
    with pytest.raises(UserError, match="not of this version"):
        request(tmp_path)


def test_seeds_of_dare_are_the_trials(tmp_path: Path) -> None:
    folder = study(tmp_path, {0: ("seed=0",), 1: ("seed=1",)}, "actor/merge=dare", "actor.merge.density=0.5")
    finish(folder, 1, configured("seed=1", "actor/merge=dare", "actor.merge.density=0.5"), [100.0, 0.0])

    one, other = promoted(folder, trial=0), promoted(folder, trial=1)

    assert manifest(one)["actor"]["sha256"] != manifest(other)["actor"]["sha256"]
