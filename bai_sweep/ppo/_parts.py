"""What a user may hand to a PPOTrainer: made into the parts of a run, or refused."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from bai_sweep.ppo._config import PPOConfig
from bai_sweep.ppo._prompts import PromptBatch, Rows, is_conversation
from bai_sweep.ppo.networks import ScalarModel, make_critic, shares_weights
from bai_sweep.ppo.rewards import ModelReward, Rewards
from bai_sweep.records import UserError
from bai_sweep.sources import fault_of, reading, resolve

if TYPE_CHECKING:
    from peft import PeftModel


def causal(source: PreTrainedModel | str, name: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A causal language model as it is, or that of a folder or hub id in `dtype`; no code of a checkpoint is run.

    Raises:
        UserError: It is neither.
    """
    if not isinstance(source, str):
        return _checked(source, name)
    if fault := fault_of(source):
        raise UserError(f"{name} is a causal language model, or where one is; {fault}")
    place, revision = resolve(source)
    with reading(source):
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(place, revision=revision, dtype=dtype)
    return _checked(model, name)


def check_actor(model: Any) -> None:
    """Whether something may be trained: a causal language model, one inside a PEFT model, or where one is.

    Raises:
        UserError: It is of another kind.
    """
    if not isinstance(model, str):
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model  # of a PEFT model
        _checked(inner, "model")


def _checked(model: Any, name: str) -> PreTrainedModel:
    if not isinstance(model, PreTrainedModel) or not model.can_generate() or model.config.is_encoder_decoder:
        raise UserError(
            f"{name} is a causal language model, or where one is; got {type(model).__name__}; load it with "
            "AutoModelForCausalLM"
        )
    return model


def tokenizer_of(
    model: PreTrainedModel | PeftModel | str, given: PreTrainedTokenizerBase | None
) -> PreTrainedTokenizerBase:
    """The tokenizer given, or the one that stands beside the model.

    Raises:
        UserError: There is none, it is of another kind, or it has no EOS token.
    """
    if given is not None and not isinstance(given, PreTrainedTokenizerBase):
        raise UserError(f"processing_class is a tokenizer; got {type(given).__name__}; pass its .tokenizer")
    if given is None:
        origin = model if isinstance(model, str) else str(getattr(model.config, "_name_or_path", ""))
        if fault := fault_of(origin):
            raise UserError(f"processing_class may be left out where the model has a folder or a hub id; {fault}")
        name, revision = resolve(origin)
        with reading(origin):
            given = AutoTokenizer.from_pretrained(name, revision=revision)
    if given.eos_token_id is None:
        raise UserError("PPO needs to know where a completion ends; this tokenizer has no EOS token; set eos_token")
    return given


def check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str = "model") -> None:
    """Whether the model knows every token of the tokenizer.

    Raises:
        UserError: It does not.
    """
    rows = _embedded(model)
    if len(tokenizer) > rows:
        raise UserError(
            f"a model knows every token of its tokenizer; this tokenizer has {len(tokenizer)} tokens and the {name} "
            f"embeddings for {rows}; use the model's own tokenizer, or model.resize_token_embeddings first"
        )


def check_frozen(policies: Mapping[str, PreTrainedModel], actor: PreTrainedModel) -> None:
    """Whether policies, which messages call by their names, know every token that the actor may write.

    Raises:
        UserError: One does not.
    """
    known = _embedded(actor)
    for name, policy in policies.items():
        if _embedded(policy) < known:
            raise UserError(
                f"{name} scores the actor's tokens; it knows {_embedded(policy)} and the actor {known}; use one of "
                "the actor's family"
            )


def check_reward_models(rewards: Rewards, batches: Iterable[PromptBatch]) -> None:
    """Whether reward models can read what their tokenizers write of the prompts.

    Raises:
        UserError: One knows fewer tokens, or has no chat template for conversations.
    """
    conversations = any(is_conversation(prompt) for batch in batches for prompt in batch.prompts)
    for name, source in rewards.sources.items():
        if isinstance(source, ModelReward):
            check_vocabulary(source.model.backbone, source.tokenizer, f"reward model {name!r}")
            if conversations and source.tokenizer.chat_template is None:
                raise UserError(
                    f"conversations need a chat template; the tokenizer of the reward model {name!r} has no chat "
                    "template; pass another as reward_processing_classes, or give prompts as text"
                )


def _embedded(model: PreTrainedModel) -> int:
    """Tokens that a model has embeddings for; its configuration may say another number."""
    return len(cast(Tensor, model.get_input_embeddings().weight))


def rows_of(dataset: Any) -> Rows:
    """The rows of a training set.

    Raises:
        UserError: It is of another kind, is empty, or has no column `prompt`.
    """
    from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict

    if isinstance(dataset, DatasetDict | IterableDatasetDict):
        raise UserError(f"train_dataset is one split; got {', '.join(dataset)}; pass dataset['train'], say")
    if isinstance(dataset, IterableDataset):
        raise UserError(
            "train_dataset has a length, from which PPO draws in a seeded order; got a stream; pass a part of it, as "
            "in datasets.Dataset.from_list(list(stream.take(10_000)))"
        )
    if not isinstance(dataset, Dataset | Sequence) or isinstance(dataset, str):
        raise UserError(f"train_dataset is a datasets.Dataset or a list of rows; got {type(dataset).__name__}")
    if not len(dataset):
        raise UserError("train_dataset has prompts; this one is empty")
    if not isinstance(dataset[0], Mapping) or "prompt" not in dataset[0]:
        have = ", ".join(map(str, dataset[0])) if isinstance(dataset[0], Mapping) else type(dataset[0]).__name__
        raise UserError(f"train_dataset has a column `prompt`, text or conversations; this one has {have}; rename it")
    rows: Rows = dataset
    return rows


def critic_of(
    actor: PreTrainedModel,
    value_model: PreTrainedModel | str | None,
    device: torch.device,
    others: Iterable[nn.Module],
) -> ScalarModel | None:
    """The critic that a value model makes; None where there is none.

    Args:
        actor: The policy.
        value_model: A sequence-classification model with one output, or where one is.
        device: Where it goes.
        others: Models that must not change while the critic learns: one that shares weights with them is copied.

    Raises:
        UserError: It is of another kind, or knows fewer tokens than the actor.
    """
    if not isinstance(value_model, nn.Module | str | None):
        raise UserError(
            f"value_model is a sequence-classification model, or where one is; got {type(value_model).__name__}"
        )
    if not isinstance(value_model, nn.Module):
        return None if value_model is None else make_critic(actor, value_model, device)
    critic = ScalarModel.of(value_model)
    known = _embedded(actor)
    if critic.vocabulary < known:
        raise UserError(
            f"the critic reads the actor's tokens; value_model knows {critic.vocabulary} and the actor {known}; use "
            "one of the actor's family, or None to start from the actor"
        )
    return copy.deepcopy(critic) if any(shares_weights(critic, other) for other in others) else critic


def check_kinds(*, args: object, peft_config: object, probes: object, callbacks: object) -> None:
    """Whether these arguments of a PPOTrainer are of their kinds; None is for all but args.

    Raises:
        UserError: One is not.
    """
    if not isinstance(args, PPOConfig):
        raise UserError(f"args is a PPOConfig; got {type(args).__name__}; make one, as in PPOConfig(steps=100)")
    if peft_config is not None and not hasattr(peft_config, "peft_type"):
        raise UserError(f"peft_config is a config of peft, as LoraConfig; got {type(peft_config).__name__}")
    if probes is not None and not isinstance(probes, Mapping):
        raise UserError(f"probes are models by name; got {type(probes).__name__}; pass a mapping")
    if callbacks is not None and not isinstance(callbacks, Sequence):
        raise UserError(f"callbacks is a list; got {type(callbacks).__name__}; put it into one")
    if args.kl_to_sft and probes is None:
        raise UserError(
            "kl_to_sft is for a trial, which knows its SFT models; PPOTrainer was given none; leave it out and name "
            "them in probes={name: model}"
        )
