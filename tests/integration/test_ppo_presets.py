"""The presets of conf/rl/ on the testbed's models, through the stage and from the command line."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from bai_sweep import merging
from bai_sweep.config import TrialConfig, parse
from bai_sweep.ppo import train
from bai_sweep.records import StepTelemetry
from bai_sweep.sources import packaged_dir

SMALL = ["rl.steps=2", "rl.batch_size=8", "rl.minibatch_size=4", "rl.max_new_tokens=48"]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def configured(*overrides: str) -> TrialConfig:
    with initialize_config_dir(str(packaged_dir("conf")), version_base="1.3"):
        return parse(compose("config", overrides=["tracking=none", "evaluation=none", *overrides]))


def run(*overrides: str) -> tuple[StepTelemetry, ...]:
    config = configured(*SMALL, *overrides)
    initial = merging.initialise(config.model, config.actor)
    return train(
        initial.model,
        initial.tokenizer,
        config.rl,
        config.reward,
        seed=config.seed,
        device=torch.device("cpu"),
        on_step=lambda _: None,
    )


@pytest.mark.parametrize("preset", ["ppo", "vc_ppo", "vapo"])
def test_each_preset_trains_the_testbed(preset: str) -> None:
    """One step of warm-up where the preset has one, then the actor learns."""
    warm = [] if preset == "ppo" else ["rl.critic_warmup_steps=1"]
    first, second = run(f"rl={preset}", *warm)
    for step in (first, second):
        assert all(map(math.isfinite, step.metrics.values()))
    assert ("grad_norm/actor" in first.metrics) == (preset == "ppo")
    assert second.metrics["grad_norm/actor"] > 0
    assert first.metrics["objective/kl"] == 0.0
    assert (second.metrics["objective/kl"] != 0.0) == (preset == "ppo")
    assert ("loss/nll_avg" in second.metrics) == (preset == "vapo")


def test_presets_say_what_their_papers_say() -> None:
    vapo, vc_ppo, ppo = (configured(f"rl={name}").rl for name in ("vapo", "vc_ppo", "ppo"))
    assert (vapo.gae_length_alpha is not None, vapo.gae_lambda_critic, vapo.clip_range_high) == (True, 1.0, 0.28)
    assert (vapo.positive_nll_coef, vapo.num_generations > 1, vapo.kl_coef) == (0.1, True, 0.0)
    assert (vc_ppo.gae_lambda, vc_ppo.gae_lambda_critic, vc_ppo.critic_warmup_steps > 0) == (0.95, 1.0, True)
    assert (ppo.gae_lambda_critic, ppo.critic_warmup_steps, ppo.positive_nll_coef) == (None, 0, 0.0)
    assert (ppo.gae_length_alpha, vc_ppo.gae_length_alpha) == (None, None)


def test_vapo_from_the_command_line(tmp_path: Path) -> None:
    arguments = ["rl=vapo", "rl.steps=2", "rl.critic_warmup_steps=1", "evaluation=none", "tracking=none", *SMALL[1:]]
    done = subprocess.run(
        [sys.executable, "-m", "bai_sweep", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.rglob("result.json")
    telemetry = json.loads(file.read_text())["telemetry"]
    assert [step["step"] for step in telemetry] == [1, 2]
    assert "policy/clipfrac_high" not in telemetry[0]["metrics"]
    assert "policy/clipfrac_high" in telemetry[1]["metrics"]
