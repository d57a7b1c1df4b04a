"""A tiny untrained Llama with a word-level tokenizer, PPO's settings around it, and prompts in a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

from bai_sweep.config import PPOSettings, RewardConfig

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


@pytest.fixture
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


@pytest.fixture
def make_settings() -> Callable[..., PPOSettings]:
    def make(**changes: Any) -> PPOSettings:
        settings: dict[str, Any] = {
            "kind": "ppo",
            "name": "ppo",
            "steps": 3,
            "batch_size": 8,
            "minibatch_size": 4,
            "ppo_epochs": 1,
            "actor_learning_rate": 1e-3,
            "critic_learning_rate": 1e-3,
            "adam_betas": (0.9, 0.95),
            "max_grad_norm": 1.0,
            "clip_range": 0.2,
            "clip_range_value": 0.2,
            "gamma": 1.0,
            "gae_lambda": 0.95,
            "kl_coef": 0.02,
            "kl_estimator": "k1",
            "whiten_advantages": True,
            "critic": None,
            "temperature": 1.0,
            "max_new_tokens": 12,
            "max_prompt_tokens": 16,
            "missing_eos_penalty": 0.0,
            "precision": "fp32",
        }
        return PPOSettings(**(settings | changes))

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
