"""PPOConfig: the presets of conf/rl with an own model's values, and every fault in one message."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from bai_sweep import sources
from bai_sweep.config import ConfigError, LoRASettings, PPOSettings
from bai_sweep.ppo import PPOConfig
from bai_sweep.ppo._config import TRL_NAMES

MORE = {"output_dir": None, "seed": 0, "device": "auto"}
OWN = ["model=own", "model.base=a/b", "model.sft.instruct=a/b", "model.sft.distilled=a/b"]


@pytest.mark.parametrize("preset", ["ppo", "vc_ppo", "vapo"])
def test_defaults_are_what_hydra_composes(preset: str) -> None:
    with initialize_config_dir(str(sources.packaged_dir("conf")), version_base="1.3"):
        composed = compose("config", overrides=[*OWN, f"rl={preset}"])
    theirs = PPOSettings.model_validate(OmegaConf.to_container(composed.rl, resolve=True)).model_dump()
    assert PPOConfig(preset=preset).model_dump() == theirs | MORE


def test_changes_and_nested_changes() -> None:
    config = PPOConfig(
        Path("out"),
        seed=3,
        device="cpu",
        steps=7,
        adam_betas=[0.8, 0.9],
        vllm={"timeout": 5},
        lora=LoRASettings(r=2, alpha=4.0, target_modules="all-linear"),
    )
    assert (config.output_dir, config.seed, config.device, config.steps) == ("out", 3, "cpu", 7)
    assert config.adam_betas == (0.8, 0.9)
    assert config.vllm == PPOConfig().vllm.model_copy(update={"timeout": 5.0})
    assert config.lora is not None
    assert config.lora.r == 2


def test_of_settings_and_copies() -> None:
    settings = PPOSettings.model_validate(PPOConfig(steps=9).model_dump(exclude=set(MORE)))
    config = PPOConfig.of(settings, output_dir="x", seed=5, device="cpu")
    assert config == PPOConfig("x", seed=5, device="cpu", steps=9)
    assert pickle.loads(pickle.dumps(config)) == config == PPOConfig(**config.model_dump())
    with pytest.raises(ValueError, match="frozen"):
        config.steps = 3


def test_every_fault_is_in_one_message() -> None:
    with pytest.raises(ConfigError) as error:
        PPOConfig(device="gpu", stesp=3, learning_rate=1e-6, gamma=2, batch_size=10, minibatch_size=3, vllm={"x": 1})
    assert str(error.value).splitlines() == [
        "bad configuration, 6 faults:",
        "  - gamma: Input should be less than or equal to 1 (got 2)",
        "  - vllm.x: there is no such setting; docs/ppo.md lists them",
        "  - device: String should match pattern '^(auto|cpu|mps|cuda(:\\d+)?)$' (got 'gpu')",
        "  - stesp: there is no such setting; did you mean steps?",
        "  - learning_rate: there is no such setting; what TRL calls so is set by actor_learning_rate here",
        "  - minibatch_size: must divide batch_size; 10 / 3 leaves 1",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "grpo"}, "preset is one of ppo, vapo, vc_ppo; got 'grpo'"),
        (
            {"batch_size": 9, "minibatch_size": 9, "num_generations": 2},
            "batch_size: holds whole groups of num_generations=2; got 9",
        ),
        ({"preset": "vapo", "steps": 5}, "critic_warmup_steps: trains no actor, so it is below steps=5; got 20"),
        ({"seed": -1}, "seed: Input should be greater than or equal to 0"),
        ({"critic": "no-such/"}, "critic: no such folder: 'no-such/'"),
    ],
)
def test_rules_between_settings(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PPOConfig(**changes)


def test_trls_names_lead_to_names_that_exist() -> None:
    known = {*PPOConfig.model_fields, "PPOTrainer(reward_weights=...)"}
    for names in TRL_NAMES.values():
        assert set(names.split(" and ")) <= known
    assert not set(TRL_NAMES) & set(PPOConfig.model_fields)


def test_presets_travel_with_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel has conf/ inside the package."""
    conf = tmp_path / "bai_sweep" / "conf"
    shutil.copytree(sources.packaged_dir("conf"), conf)
    text = (conf / "rl" / "ppo.yaml").read_text(encoding="utf-8")
    (conf / "rl" / "ppo.yaml").write_text(text.replace("gamma: 1.0", "gamma: 0.5"), encoding="utf-8")
    monkeypatch.setattr(sources, "_PACKAGE", conf.parent)
    assert PPOConfig(preset="vapo").gamma == 0.5
