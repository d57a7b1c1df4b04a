"""What is refused before a model is merged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from trl.rewards import accuracy_rewards

from bai_sweep import ppo
from bai_sweep.config import PPOSettings, RewardConfig
from bai_sweep.records import UserError
from tests.tiny import save_tiny_model

Make = Callable[..., Any]


def check(settings: PPOSettings, reward: RewardConfig) -> None:
    ppo.check(settings, reward, torch.device("cpu"))


def function(name: str) -> dict[str, dict[str, Any]]:
    return {"f": {"function": name, "weight": 1.0}}


@pytest.mark.parametrize("name", ["tests.unit.ppo.rewards:share_of_a", "trl.rewards:accuracy_reward"])
def test_what_can_run_passes(make_settings: Make, make_reward: Make, reward_model: str, name: str) -> None:
    functions = function(name) | {"model": {"model": reward_model, "weight": 1.0}}
    check(make_settings(critic=reward_model), make_reward([{"prompt": "a", "solution": "1"}], functions=functions))
    check(make_settings(), make_reward(source="testbed"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tests.unit.ppo.rewards:missing", "'tests.unit.ppo.rewards' has no attribute 'missing'"),
        ("no_such_module:f", "No module named 'no_such_module'"),
        ("tests.unit.ppo.rewards:calls", "callable; 'tests.unit.ppo.rewards:calls' is of type list"),
        ("os:getenv", r"'os:getenv' does not take prompts, completions, completion_ids, answer; add \*\*kwargs"),
    ],
)
def test_bad_functions(make_settings: Make, make_reward: Make, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(make_settings(), make_reward(functions=function(name)))


@pytest.mark.parametrize("name", ["accuracy_reward", "reasoning_accuracy_reward"])
def test_trl_without_its_optional_package(
    make_settings: Make, make_reward: Make, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(accuracy_rewards, "is_math_verify_available", lambda: False)
    message = rf"'trl.rewards:{name}': .*math_verify.*; pip install 'math-verify\[antlr4_9_3\]>=0.8'"
    with pytest.raises(UserError, match=message):
        check(make_settings(), make_reward(functions=function(f"trl.rewards:{name}")))


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_bad_prompt_files(make_settings: Make, make_reward: Make, tmp_path: Path, suffix: str) -> None:
    from datasets import Dataset

    file = str(tmp_path / f"questions{suffix}")
    with pytest.raises(UserError, match=f"{file!r} .train. could not be read"):
        check(make_settings(), make_reward(source=file))
    data = Dataset.from_list([{"question": "a"}, {"question": "b"}])
    data.to_json(file) if suffix == ".jsonl" else data.to_parquet(file)
    with pytest.raises(UserError, match="has question; got 'prompt'"):
        check(make_settings(), make_reward(source=file))
    check(make_settings(), make_reward(source=file, column="question"))


def test_functions_are_compared_with_the_datasets_columns(make_settings: Make, make_reward: Make) -> None:
    accuracy = function("trl.rewards:accuracy_reward")
    with pytest.raises(UserError, match=r"columns \(answer\).*'trl.rewards:accuracy_reward' needs solution too"):
        check(make_settings(), make_reward(functions=accuracy))
    rows = [{"prompt": "a", "solution": "1"}]
    check(make_settings(), make_reward(rows, functions=accuracy))
    check(make_settings(), make_reward(functions=accuracy, source="not/downloaded"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"engine": "vllm"}, r"rl.engine=vllm needs the package vllm.*'bai-sweep\[vllm\]'"),
        (
            {"lora": {"r": 2, "alpha": 4, "target_modules": "all-linear"}},
            r"rl.lora needs the package peft.*'bai-sweep\[lora\]'",
        ),
    ],
)
def test_packages_that_settings_need(
    make_settings: Make, make_reward: Make, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr("bai_sweep.ppo._check.find_spec", lambda _: None)
    with pytest.raises(UserError, match=message):
        check(make_settings(**changes), make_reward())
    check(make_settings(), make_reward())


def test_models_of_another_kind(make_settings: Make, make_reward: Make, tmp_path: Path) -> None:
    other = str(save_tiny_model(tmp_path / "causal"))
    with pytest.raises(UserError, match=r"sequence-classification checkpoint with one output; .* is LlamaForCausalLM"):
        check(make_settings(critic=other), make_reward())
    with pytest.raises(UserError, match="is LlamaForCausalLM"):
        check(make_settings(), make_reward(functions={"m": {"model": other, "weight": 1.0}}))
