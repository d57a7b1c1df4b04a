"""What a user may hand to a PPOTrainer: made into the parts of a run, or refused."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from bai_sweep.ppo._prompts import Rows
from bai_sweep.ppo.networks import ScalarModel, make_critic
from bai_sweep.records import UserError
from bai_sweep.sources import fault_of, resolve

if TYPE_CHECKING:
    from peft import PeftModel


def causal(source: PreTrainedModel | str, name: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A causal language model as it is, or that of a folder or hub id in `dtype`; no code of a checkpoint is run.

    Raises:
        UserError: It is neither.
    """
    if isinstance(source, PreTrainedModel):
        return source
    if not isinstance(source, str):
        raise UserError(f"{name} is a causal language model, or where one is; got {type(source).__name__}")
    if fault := fault_of(source):
        raise UserError(f"{name} is a causal language model, or where one is; {fault}")
    place, revision = resolve(source)
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(place, revision=revision, dtype=dtype)
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
        given = AutoTokenizer.from_pretrained(name, revision=revision)
    if given.eos_token_id is None:
        raise UserError("PPO needs to know where a completion ends; this tokenizer has no EOS token; set eos_token")
    return given


def check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Whether the model knows every token of the tokenizer.

    Raises:
        UserError: It does not.
    """
    rows = _embedded(model)
    if len(tokenizer) > rows:
        raise UserError(
            f"a model knows every token of its tokenizer; this tokenizer has {len(tokenizer)} tokens and the model "
            f"embeddings for {rows}; use the model's own tokenizer, or model.resize_token_embeddings first"
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


def shares_weights(one: nn.Module, other: nn.Module) -> bool:
    """Whether training one would change the other."""
    return not {id(p) for p in one.parameters()}.isdisjoint(id(p) for p in other.parameters())


def device_of(name: str) -> torch.device:
    """`auto` is the first GPU where there is one.

    Raises:
        UserError: This machine has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}[device.type]
    if (device.index or 0) >= there:
        raise UserError(f"device={name}: torch finds {there} of this kind here; use device='auto'")
    return device
