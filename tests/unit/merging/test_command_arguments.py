"""The arguments of `python -m bai_sweep.merge`."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from bai_sweep.config import ConfigError, DareMerge, LinearMerge, TiesMerge
from bai_sweep.merging.command._arguments import method_defaults, settings_of
from bai_sweep.merging.command._help import usage
from bai_sweep.merging.command._settings import MergeSettings
from bai_sweep.sources import packaged_dir

MODELS = ("base=testbed://base", "sft.instruct=testbed://instruct", "sft.distilled=testbed://distilled")
METHODS = sorted(path.stem for path in (packaged_dir("conf") / "actor" / "merge").glob("*.yaml"))


def faults_of(*arguments: str) -> str:
    with pytest.raises(ConfigError, match="bad configuration") as raised:
        settings_of(arguments)
    return str(raised.value)


def test_what_is_not_given_is_the_default() -> None:
    settings = settings_of([*MODELS, "out=merged"])

    assert settings.sources == {
        "base": "testbed://base",
        "instruct": "testbed://instruct",
        "distilled": "testbed://distilled",
    }
    assert settings.actor.alpha == 0.5
    assert settings.actor.weights == {"instruct": 0.5, "distilled": 0.5}
    assert settings.merge == LinearMerge(method="linear")
    assert settings.tokenizer_model == "instruct"
    assert settings.max_shard_size == 5_000_000_000
    assert settings.dtype is None
    assert not settings.dry_run


def test_three_models_have_equal_weights_that_sum_to_one() -> None:
    settings = settings_of([*MODELS, "sft.third=testbed://reward", "out=merged"])

    assert set(settings.actor.weights.values()) == {1 / 3}


def test_every_key_can_be_given() -> None:
    given = {
        "alpha": "0.25",
        "tokenizer": "base",
        "vocabulary": "tokenizer",
        "missing_tokens": "zero",
        "dtype": "float16",
        "threads": "3",
        "diagnostics": "full",
        "figure": "false",
        "dry_run": "true",
        "seed": "7",
    }

    dumped = settings_of(
        [*MODELS, "out=o", "weights.instruct=0.75", "weights.distilled=0.25", "max_shard_size=1.5 MiB"]
        + [f"{key}={value}" for key, value in given.items()]
    ).model_dump()

    assert {key: str(dumped[key]).lower() for key in given} == given
    assert dumped["weights"] == {"instruct": 0.75, "distilled": 0.25}
    assert dumped["max_shard_size"] == 1_572_864


def test_folders_and_names_are_taken_as_they_are_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no", "1e3"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)

    settings = settings_of(["base=no", "sft.qwen2.5-7b=1e3", "weights.qwen2.5-7b=1", "out=2024"])

    assert (settings.base, settings.sft, settings.out) == ("no", {"qwen2.5-7b": "1e3"}, "2024")
    assert settings.actor.weights == {"qwen2.5-7b": 1.0}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_has_the_defaults_of_a_trial(method: str) -> None:
    settings = settings_of([*MODELS, "out=merged", f"merge={method}", "seed=5"])

    wanted = method_defaults(method)
    if method == "dare":
        wanted["seed"] = 5  # ${seed}
    assert settings.merge.model_dump() == wanted


def test_a_methods_settings_come_whichever_side_of_its_name_they_stand() -> None:
    before = settings_of([*MODELS, "out=o", "merge.density=0.3", "merge=ties"]).merge
    after = settings_of([*MODELS, "out=o", "merge=dare", "merge.density=0.3", "merge.seed=9", "seed=5"]).merge

    assert before == TiesMerge(method="ties", scale=None, density=0.3, election="weight")
    assert after == DareMerge(method="dare", scale=None, density=0.3, election="none", seed=9)


def test_stage_one_alone_needs_no_base() -> None:
    assert settings_of([*MODELS[1:], "out=o", "alpha=0"]).base is None
    assert "base: is needed, as base=<folder or hub id>" in faults_of(*MODELS[1:], "out=o")
    assert "base: is needed" in faults_of(*MODELS[1:], "out=o", "alpha=0", "merge=ties")  # task vectors begin there


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["alpha=1.5"], "alpha: Input should be less than or equal to 1 (got 1.5)"),
        (["alhpa=0.5"], "alhpa: there is no such key; did you mean alpha?"),
        (["zzz=0.5"], "zzz: there is no such key; there are base, sft, out, alpha,"),
        (["merge=tise"], "merge: is one of dare, depth, linear, slerp, task_arithmetic, ties, two_save; got 'tise'"),
        (["merge=ties", "merge.densty=0.3"], "merge.densty: there is no such key; did you mean merge.density?"),
        (["merge=ties", "merge.density=1.5"], "merge.density: Input should be less than or equal to 1 (got 1.5)"),
        (["merge.density=0.3"], "merge.density: there is no such key; this method has no settings"),
        (
            ["merge=depth", "merge.parts.mpl=0.3"],
            "merge.parts.mpl: there is no such key; did you mean merge.parts.mlp?",
        ),
        (["weights.instruct=1"], "weights: one for each SFT model (instruct, distilled); got instruct"),
        (["weights.instruct=0.9", "weights.distilled=0.9"], "weights must sum to 1; these sum to 1.8"),
        (["tokenizer=nobody"], "tokenizer: names one of the models (base, instruct, distilled); got 'nobody'"),
        (["sft.third=/not/there"], "sft.third: no such folder: '/not/there'"),
        (["alpha=true"], "alpha: a number is needed, not true or false (got True)"),
        (["threads=true"], "threads: a number is needed, not true or false (got True)"),
        (["seed=false"], "seed: a number is needed, not true or false (got False)"),
        (["weights.instruct=true", "weights.distilled=0"], "weights.instruct: a number is needed, not true or false"),
        (["merge=ties", "merge.density=true"], "merge.density: a number is needed, not true or false (got True)"),
        (["sft.base=testbed://base"], "sft: 'base' is the base model's name"),
        (["sft.merge=testbed://base"], "sft: 'merge' is the result's name"),
        (["max_shard_size=5 parrots"], "max_shard_size: a size is bytes, or a number with KB, MB, GB"),
        (["threads=0"], "threads: Input should be greater than or equal to 1 (got 0)"),
        (["dry_run"], "dry_run: an argument is key=value; --help lists the keys"),
        (["dtype=int8"], "dtype: Input should be 'float32', 'bfloat16' or 'float16' (got 'int8')"),
        (["alpha=${nothing}"], "nothing"),
        (["sft=some/folder"], "sft: each model has a name, as sft.<name>=<folder or hub id>; got 'some/folder'"),
    ],
)
def test_a_bad_argument_is_named_with_the_rule_and_the_fix(arguments: list[str], message: str) -> None:
    assert message in faults_of(*MODELS, "out=merged", *arguments)


@pytest.mark.parametrize(
    ("arguments", "faults"),
    [
        (["sft.instruct=testbed://base"], ["sft.instruct=testbed://instruct and sft.instruct=testbed://base"]),
        (["base=testbed://instruct"], ["base=testbed://base and base=testbed://instruct"]),
        (["base.x=1"], ["base=testbed://base and base.x=1"]),
        (["alpha=0.5", "alpha=0.2"], ["alpha=0.5 and alpha=0.2"]),
        (["alpha=0.5", "alpha=0.5", "alpha=0.1"], ["alpha=0.5 and alpha=0.5", "alpha=0.5 and alpha=0.1"]),
        (["merge=ties", "merge=dare"], ["merge=ties and merge=dare"]),
        (["merge=depth", "merge.layers=null", "merge.layers.last=1"], ["merge.layers=null and merge.layers.last=1"]),
        (
            ["merge=depth", "merge.layers={last: 0}", "merge.layers.last=1"],
            ["merge.layers={last: 0} and merge.layers"],
        ),
        (["weights={instruct: 1}", "weights.instruct=0.5"], ["weights={instruct: 1} and weights.instruct=0.5"]),
    ],
)
def test_an_argument_that_is_given_twice_is_named_with_both_values(arguments: list[str], faults: list[str]) -> None:
    message = faults_of(*MODELS, "out=merged", *arguments)

    for fault in faults:
        assert f": is given once; got {fault}" in message
    assert message.count("is given once") == len(faults)


def test_arguments_that_share_a_beginning_are_not_the_same() -> None:
    arguments = ["base=testbed://base", "sft.a=testbed://instruct", "sft.a.b=testbed://distilled", "out=merged"]
    depth = ["merge=depth", "merge.layers={first: 0.1}", "merge.layers.last=0.2"]

    settings = settings_of([*arguments, "weights={a: 0.25}", "weights.a.b=0.75", *depth])

    assert list(settings.sft) == ["a", "a.b"]
    assert settings.weights == {"a": 0.25, "a.b": 0.75}
    assert settings.merge.model_dump()["layers"] == {"first": 0.1, "middle": None, "last": 0.2}


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (
            [*MODELS, "merge.method=ties", "merge.density=0.3"],
            "merge.method: a method is named as merge=<method>; write merge=ties for merge.method=ties",
        ),
        (
            [*MODELS, "merge=dare", "merge.method=ties"],
            "merge.method: a method is named as merge=<method>; write merge=ties for merge.method=ties",
        ),
        (
            [*MODELS, "merge.method=median"],
            "merge.method: a method is named as merge=<method>; write "
            "merge=<dare|depth|linear|slerp|task_arithmetic|ties|two_save> for merge.method=median",
        ),
        (
            ["base=testbed://base", "sft=instruct", "weights.instruct=1"],
            "sft: each model has a name, as sft.<name>=<folder or hub id>; got 'instruct'",
        ),
        (
            [MODELS[1], "base=/does/not/exist"],
            "base: no such folder: '/does/not/exist'; give a Hugging Face model folder",
        ),
    ],
)
def test_one_mistake_is_one_fault(arguments: list[str], fault: str) -> None:
    message = faults_of(*arguments, "out=merged")

    assert message.startswith(f"bad configuration, 1 fault:\n  - {fault}")


def test_all_faults_are_in_one_message() -> None:
    message = faults_of("alpha=2", "merge=tise", "dtpye=float32", "threads=none", "stray")

    assert message.startswith("bad configuration, 7 faults:\n")
    for key in ("stray: ", "merge: ", "alpha: ", "dtpye: ", "threads: ", "out: is needed, as out=<folder>", "sft: "):
        assert f"  - {key}" in message


def test_the_settings_have_the_keys_of_the_defaults_and_help_lists_each_with_its_comment() -> None:
    defaults = OmegaConf.load(packaged_dir("conf") / "merge.yaml")
    text = usage()

    assert list(defaults) == list(MergeSettings.model_fields)
    lines = (packaged_dir("conf") / "merge.yaml").read_text(encoding="utf-8").splitlines()[1:]
    for line in lines:
        key, comment = line.partition(":")[0], line.partition("# ")[2]
        assert comment
        assert any(said.strip().startswith(f"{key}=") and said.endswith(comment) for said in text.splitlines()), key
    for method in METHODS:
        assert f"\nmerge={method}: " in text
    assert "merge.density=0.5" in text
    assert "merge.parts.mlp=null" in text
    assert not [line for line in text.splitlines() if line != line.rstrip()]
