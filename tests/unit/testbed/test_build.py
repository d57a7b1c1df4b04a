"""The recipe runs end to end, scaled down, and gives the same weights twice."""

import filecmp
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from bai_sweep.testbed._build import BuildConfig, build, put_in_place
from bai_sweep.testbed._pretrain import PretrainConfig, lr_factor
from bai_sweep.testbed._weights import BASELINE, MODELS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A family built by the command, in a process of its own."""
    out = tmp_path_factory.mktemp("testbed") / "family"
    command = [sys.executable, "-m", "bai_sweep.testbed", "build", "--out", str(out), "--scale", "0.0016"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "base: step 2 of 2" in done.stdout
    assert done.stdout.splitlines()[-1] == str(out)
    return out


def test_every_model_loads_as_a_standard_folder(family: Path) -> None:
    assert {p.name for p in family.iterdir()} == {*MODELS, BASELINE}
    for name in MODELS[:3]:
        model = AutoModelForCausalLM.from_pretrained(family / name)
        assert model.dtype == torch.bfloat16
    reward = AutoModelForSequenceClassification.from_pretrained(family / "reward")
    assert reward.config.num_labels == 1
    assert len({(family / n / "tokenizer.json").read_text() for n in MODELS}) == 1
    assert len(json.loads((family / BASELINE).read_text())) == 60


def test_fine_tuning_moved_every_model_off_the_base(family: Path) -> None:
    weights = {n: AutoModelForCausalLM.from_pretrained(family / n).state_dict() for n in MODELS[:3]}
    key = "model.layers.0.mlp.up_proj.weight"
    assert not torch.equal(weights["base"][key], weights["instruct"][key])
    assert not torch.equal(weights["instruct"][key], weights["distilled"][key])


def test_the_same_seed_gives_the_same_weights(family: Path, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        again = build(tmp_path / "again", seed=0, scale=0.0016)
    finally:
        torch.set_num_threads(threads)
    for name in MODELS:
        assert filecmp.cmp(family / name / "model.safetensors", again / name / "model.safetensors", shallow=False)


def test_the_model_can_read_its_tokenizer(family: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(family / "base")
    model = AutoModelForCausalLM.from_pretrained(family / "base")
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.eos_token_id == tokenizer.eos_token_id
    assert sum(p.numel() for p in model.parameters()) < 1_000_000


def test_a_new_family_replaces_the_old_one_whole(tmp_path: Path) -> None:
    old, new = tmp_path / "weights", tmp_path / ".weights-new"
    for folder, text in ((old, "old"), (new, "new")):
        folder.mkdir()
        (folder / text).write_text(text)
    put_in_place(new, old)
    assert [p.name for p in tmp_path.iterdir()] == ["weights"]
    assert [p.name for p in old.iterdir()] == ["new"]


def test_a_failed_build_leaves_the_old_family_and_no_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "weights"
    out.mkdir()
    (out / "old").touch()

    def fail(*args: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr("bai_sweep.testbed._build.train_family", fail)
    with pytest.raises(RuntimeError, match="out of luck"):
        build(out)
    assert [p.name for p in tmp_path.iterdir()] == ["weights"]
    assert (out / "old").exists()


def test_scaling_keeps_at_least_one_step_of_everything() -> None:
    tiny = BuildConfig().scaled(1e-6)
    assert [getattr(tiny, name).steps for name in MODELS] == [1, 1, 1, 1]
    assert BuildConfig().scaled(1.0) == BuildConfig()


def test_a_scale_must_be_positive() -> None:
    with pytest.raises(ValueError, match="scale must be positive, got 0"):
        BuildConfig().scaled(0)


def test_the_learning_rate_warms_up_stays_and_decays() -> None:
    config = PretrainConfig(steps=100, warmup=10, decay_from=0.6)
    factors = [lr_factor(s, config) for s in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9:60] == [1.0] * 51
    assert factors[80] == pytest.approx(0.5)
    assert factors[99] == pytest.approx(1 / 40)
