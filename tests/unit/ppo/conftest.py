"""A tiny untrained Llama with a word-level tokenizer, PPO's settings around it, and prompts in a file."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

from bai_sweep.config import PPOSettings, RewardConfig
from bai_sweep.ppo.networks import Networks, make_critic, make_networks
from bai_sweep.ppo.processes import Processes
from bai_sweep.sources import packaged_dir

VOCABULARY = [
    "<pad>",
    "<eos>",
    "<bos>",
    "<unk>",
    "<think>",
    "</think>",
    "<|user|>",
    "<|assistant|>",
    *"abcdefghijklmn",
]
CHAT_TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}<|assistant|> {{ m['content'] }} <eos>"
    "{% else %}<|user|> {{ m['content'] }} {% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    # Two processes that both use all cores for tiny matrices wait for each other most of the time.
    torch.set_num_threads(1)


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        unk_token="<unk>",
        chat_template=CHAT_TEMPLATE,
    )


def tiny_config(**changes: Any) -> LlamaConfig:
    settings = {
        "vocab_size": len(VOCABULARY),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "tie_word_embeddings": True,
        "max_position_embeddings": 64,
        "initializer_range": 0.08,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": 2,
    }
    return LlamaConfig(**(settings | changes))


@pytest.fixture(scope="session")
def make_model() -> Callable[..., LlamaForCausalLM]:
    def make(seed: int = 0, **changes: Any) -> LlamaForCausalLM:
        torch.manual_seed(seed)
        return LlamaForCausalLM(tiny_config(**changes)).eval()

    return make


@pytest.fixture
def reward_model(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> str:
    """The folder of a sequence-classification checkpoint with one output."""
    torch.manual_seed(7)
    LlamaForSequenceClassification(tiny_config(num_labels=1, initializer_range=0.3)).save_pretrained(tmp_path / "rm")
    tokenizer.save_pretrained(tmp_path / "rm")
    return str(tmp_path / "rm")


SMALL: dict[str, Any] = {
    "steps": 3,
    "batch_size": 8,
    "minibatch_size": 4,
    "actor_learning_rate": 1e-3,
    "critic_learning_rate": 1e-3,
    "critic": None,
    "max_new_tokens": 12,
    "max_prompt_tokens": 16,
    "precision": "fp32",
    "checkpoint_steps": 0,
}
"""What the tests change of every preset in conf/rl/."""


@cache
def preset(name: str) -> dict[str, Any]:
    """conf/rl/<name>.yaml as it ships, composed with the testbed's values."""
    with initialize_config_dir(str(packaged_dir("conf")), version_base="1.3"):
        cfg = compose("config", overrides=[f"rl={name}"])
    return cast("dict[str, Any]", OmegaConf.to_container(cfg.rl, resolve=True))


@pytest.fixture(scope="session")
def make_settings() -> Callable[..., PPOSettings]:
    """conf/rl/ppo.yaml, or another preset, made small, with changes."""

    def make(rl: str = "ppo", **changes: Any) -> PPOSettings:
        return PPOSettings.model_validate(preset(rl) | SMALL | changes)

    return make


@pytest.fixture
def alone() -> Processes:
    """A run of one process."""
    return Processes()


@pytest.fixture(scope="session")
def networks_of(make_model: Callable[..., LlamaForCausalLM]) -> Callable[..., Networks]:
    """Networks around a tiny model, whose critic has a head that is not 0."""

    def make(settings: PPOSettings, *, longest: int = 24, moved: float = 0.0, **model: Any) -> Networks:
        actor, cpu = make_model(**({"initializer_range": 0.3} | model)), torch.device("cpu")
        reference = copy.deepcopy(actor)
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in actor.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=moved)
        critic = make_critic(actor, None, cpu)
        critic.head.weight.data.normal_()
        return make_networks(actor, critic, settings, device=cpu, longest=longest, reference=reference)

    return make


@pytest.fixture
def make_reward(tmp_path: Path) -> Callable[..., RewardConfig]:
    """A reward configuration over rows written to a .jsonl file."""

    def make(
        rows: list[dict[str, Any]] | None = None,
        functions: dict[str, dict[str, Any]] | None = None,
        **prompts: Any,
    ) -> RewardConfig:
        file = tmp_path / f"prompts{len(list(tmp_path.iterdir()))}.jsonl"
        rows = rows or [{"prompt": " ".join("abcdefghij"[i % 7 : i % 7 + 1 + i % 3]), "answer": i} for i in range(12)]
        file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
        where = {"source": str(file), "split": "train", "column": "prompt", "count": None} | prompts
        functions = functions or {"count_a": {"function": "tests.unit.ppo.rewards:share_of_a", "weight": 1.0}}
        return RewardConfig.model_validate({"name": "test", "prompts": where, "functions": functions})

    return make
