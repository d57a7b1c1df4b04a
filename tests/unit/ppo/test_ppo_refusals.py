"""What PPOTrainer and `check` refuse of a user's parts: wrong kinds, models that are not there, sizes that differ."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import jaxtyping
import pytest
import torch
from torch import nn
from transformers import (
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
    TrainerCallback,
)

from bai_sweep.ppo import PPOConfig, PPOTrainer, check
from bai_sweep.records import UserError
from tests.unit.ppo import rewards

Make = Callable[..., Any]
ROWS = [{"prompt": "a b"}, {"prompt": "b c"}]
CHATS = [{"prompt": [{"role": "user", "content": "a"}]}]
CPU = torch.device("cpu")


def config(**changes: Any) -> PPOConfig:
    small: dict[str, Any] = {
        "steps": 2,
        "batch_size": 4,
        "minibatch_size": 2,
        "max_new_tokens": 8,
        "precision": "fp32",
    }
    return PPOConfig(None, device="cpu", **(small | changes))


@pytest.fixture
def trainer(make_model: Make, tokenizer: PreTrainedTokenizerFast) -> Callable[..., PPOTrainer]:
    def make(reward_funcs: Any = rewards.words, args: Any = None, **more: Any) -> PPOTrainer:
        model = more.pop("model") if "model" in more else make_model()
        args = config() if args is None else args
        parts: dict[str, Any] = {"processing_class": tokenizer, "train_dataset": ROWS} | more
        return PPOTrainer(model, reward_funcs, args, **parts)

    return make


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a user: the types of arguments are checked at run time in tests only."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


# Models that are not there


@pytest.mark.usefixtures("offline", "unchecked")
@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"value_model": "/nonexistent"}, "no such folder: '/nonexistent'"),
        ({"value_model": 5}, "value_model is a sequence-classification model, or where one is; got int"),
        ({"value_model": "nobody/none@v1"}, r"'nobody/none' \(revision v1\) could not be read"),
        ({"ref_model": "nobody/none"}, r"'nobody/none' could not be read"),
        ({"probes": {"sft": "nobody/none"}}, r"'nobody/none' could not be read"),
        ({"reward_funcs": "nobody/none"}, r"'nobody/none' could not be read"),
        ({"model": "nobody/none", "processing_class": None}, r"'nobody/none' could not be read"),
    ],
)
def test_absent_models_are_named(trainer: Make, parts: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        trainer(**parts)


@pytest.mark.usefixtures("offline")
def test_absent_models_of_a_trial_are_named(make_settings: Make, make_reward: Make) -> None:
    with pytest.raises(UserError, match="'nobody/none' could not be read"):
        check(make_settings(critic="nobody/none"), make_reward(), CPU)
    with pytest.raises(UserError, match="'nobody/none' could not be read"):
        check(make_settings(), make_reward(functions={"m": {"model": "nobody/none", "weight": 1.0}}), CPU)


def test_a_reference_from_a_path_has_the_actors_dtype(trainer: Make, make_model: Make, tmp_path: Any) -> None:
    make_model().save_pretrained(tmp_path / "reference")
    made = trainer(model=make_model().to(torch.bfloat16), ref_model=str(tmp_path / "reference"))
    assert made.networks.reference.model.dtype == torch.bfloat16


# Devices and packages


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_processes": 2}, "each process has a GPU of its own; rl.num_processes=2, torch finds 1"),
        ({"engine": "vllm"}, "rl.engine=vllm needs the package vllm"),
    ],
)
def test_gpus_are_counted_before_the_merge(
    make_settings: Make, make_reward: Make, monkeypatch: pytest.MonkeyPatch, changes: Any, message: str
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr("bai_sweep.ppo._check.find_spec", lambda name: None)
    with pytest.raises(UserError, match=message):
        check(make_settings(**changes), make_reward(), torch.device("cuda"))


def test_vllm_needs_cuda(trainer: Make, make_settings: Make, make_reward: Make, monkeypatch: Any) -> None:
    monkeypatch.setattr("bai_sweep.ppo._check.find_spec", lambda name: object())
    monkeypatch.setattr("bai_sweep.ppo._trainer.rows_of", None)  # nothing is read before
    with pytest.raises(UserError, match=r"rl.engine=vllm .* CUDA; got device=cpu; set rl.engine=hf"):
        check(make_settings(engine="vllm"), make_reward(), CPU)
    with pytest.raises(UserError, match=r"rl.engine=vllm .* CUDA; got device=cpu; set rl.engine=hf"):
        trainer(args=config(engine="vllm"))


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_groups_train_on_one_gpu(make_reward: Make, monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    from tests.unit.ppo.test_ppo_trl import settings_of

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match="rl=grpo trains on one GPU; torch sees 2; set CUDA_VISIBLE_DEVICES to one"):
        check(settings_of("grpo"), make_reward(), torch.device(device))


# Sizes


def test_smaller_vocabularies_are_refused(trainer: Make, make_model: Make, reward_model: str) -> None:
    smaller = make_model()
    smaller.resize_token_embeddings(10)
    paying = LlamaForSequenceClassification.from_pretrained(reward_model)
    paying.resize_token_embeddings(10)
    with pytest.raises(UserError, match="ref_model scores the actor's tokens; it knows 10 and the actor 22"):
        trainer(ref_model=smaller)
    with pytest.raises(UserError, match=r"probes\['sft'\] scores the actor's tokens; it knows 10 and the actor 22"):
        trainer(probes={"sft": smaller})
    with pytest.raises(UserError, match=r"reward model 'reward' embeddings for 10"):
        trainer({"reward": paying})


def test_a_reward_model_without_a_template_is_refused_conversations(
    trainer: Make, reward_model: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    plain = copy.deepcopy(tokenizer)
    plain.chat_template = None
    with pytest.raises(UserError, match="tokenizer of the reward model 'm' has no chat template"):
        trainer({"m": reward_model}, train_dataset=CHATS, reward_processing_classes=plain)
    trainer({"m": reward_model}, reward_processing_classes=plain)


# Kinds


def t5() -> Any:
    kind: Any = T5ForConditionalGeneration  # its constructor has no types
    return kind(T5Config(vocab_size=22, d_model=8, d_ff=8, num_layers=1, num_heads=1, d_kv=8))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("kind", ["headless", "classifier", "encoder-decoder", "module", "none"])
def test_models_that_are_no_causal_language_models(
    trainer: Make, make_model: Make, reward_model: str, kind: str
) -> None:
    model: Any = {
        "headless": lambda: make_model().base_model,
        "classifier": lambda: LlamaForSequenceClassification.from_pretrained(reward_model),
        "encoder-decoder": t5,
        "module": lambda: nn.Linear(2, 2),
        "none": lambda: None,
    }[kind]()
    got = type(model).__name__
    with pytest.raises(UserError, match=rf"^model is a causal language model, or where one is; got {got}"):
        trainer(model=model)
    if kind != "none":
        with pytest.raises(UserError, match=rf"^ref_model is a causal language model, or where one is; got {got}"):
            trainer(ref_model=model)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"args": {"steps": 2}}, "args is a PPOConfig; got dict"),
        ({"peft_config": {"r": 2}}, "peft_config is a config of peft, as LoraConfig; got dict"),
        ({"probes": ["a/b"]}, "probes are models by name; got list"),
        ({"callbacks": TrainerCallback()}, "callbacks is a list; got TrainerCallback"),
        ({"reward_weights": 1.0}, "reward_weights has one weight for each of words; got 1.0"),
        ({"train_dataset": [{"prompt": "a"}, "b"]}, "a row is a mapping with a `prompt`; row 1 is 'b'"),
    ],
)
def test_arguments_of_another_kind(trainer: Make, parts: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        trainer(**parts)


def test_a_fault_of_the_chat_template_names_the_row(trainer: Make, tokenizer: PreTrainedTokenizerFast) -> None:
    strict = copy.deepcopy(tokenizer)
    strict.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(UserError, match=r"prompt 0 .*chat template.*roles must alternate"):
        trainer(train_dataset=CHATS, processing_class=strict)


# Settings that would do nothing


def test_settings_that_would_do_nothing(trainer: Make, make_model: Make) -> None:
    with pytest.raises(UserError, match=r"rl.accelerate_config .* rl.num_processes is 1"):
        trainer(args=config(accelerate_config="nonsense"))
    with pytest.raises(UserError, match=r"kl_to_sft .* probes="):
        trainer(args=config(kl_to_sft=True))
    trainer(args=config(kl_to_sft=True), probes={"sft": make_model()})
