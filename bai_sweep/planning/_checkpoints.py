"""A model's name to its size, from what lies on this machine: no weight is read and none is downloaded."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from bai_sweep.config import ModelConfig
from bai_sweep.merging import open_members, plan_merge
from bai_sweep.merging.compatibility import settings_of
from bai_sweep.merging.inputs import Checkpoint
from bai_sweep.planning._networks import Network, network_of
from bai_sweep.records import UserError
from bai_sweep.sources import resolve

log = logging.getLogger(__name__)

_ADAPTER = "adapter_config.json"
_SETTINGS = "config.json"


class UnknownSizeError(Exception):
    """A model's size cannot be told here; the message says why, and what would help."""


def actor_of(model: ModelConfig) -> Network:
    """The merged actor, as every actor of a study has the same tensors.

    Where all models are folders of this machine the merge is planned, so that the rows of a vocabulary that several
    models make are counted. Else the size is that of one of them.

    Raises:
        UnknownSizeError: None of the models is on this machine.
        UserError: The models do not fit together.
    """
    sources = {"base": model.base, **model.sft}
    folders = {name: _folder(source) for name, source in sources.items()}
    if all(_is_whole(folder) for folder in folders.values()):
        return _planned(tuple((name, str(folder)) for name, folder in folders.items()), model)
    named = [model.tokenizer, *(name for name in sources if name != model.tokenizer)]
    for name in named:
        if _is_whole(folder := folders[name]) and folder is not None:
            return checkpoint_in(folder)
    for name in named:
        if (folder := folders[name]) is not None and (folder / _SETTINGS).is_file():
            return _of_settings(folder)
    raise UnknownSizeError(
        f"none of {', '.join(sources.values())} is on this machine, and a model's size is read from its files; "
        "download one of them (its config.json is enough), or give its folder"
    )


def scalar_of(source: str) -> Network:
    """A critic or reward model, a checkpoint with one output.

    Raises:
        UnknownSizeError: It is not on this machine.
    """
    folder = _folder(source)
    if folder is None or not _is_whole(folder):
        raise UnknownSizeError(f"{source} is not on this machine; download it, or give its folder")
    return checkpoint_in(folder, scalar=True)


def checkpoint_in(folder: Path, *, scalar: bool = False) -> Network:
    """The network of a model folder, by the headers of its files.

    Args:
        folder: With config.json and safetensors.
        scalar: Whether its head has one output.

    Raises:
        UserError: Its files are broken.
    """
    config = _read(folder / _SETTINGS)
    with Checkpoint.of(folder) as checkpoint:
        shapes = {name: spec.shape for name, spec in checkpoint.specs.items() if name not in checkpoint.other}
    return network_of(shapes, config, tied=bool(settings_of(config).get("tie_word_embeddings")), scalar=scalar)


def _planned(folders: tuple[tuple[str, str], ...], model: ModelConfig) -> Network:
    return _plan(folders, model.tokenizer, model.vocabulary, model.missing_tokens)


@lru_cache(maxsize=32)  # the points of a grid have the same models
def _plan(folders: tuple[tuple[str, str], ...], tokenizer: str, vocabulary: Any, missing_tokens: Any) -> Network:
    with open_members(dict(folders)) as members:
        plan = plan_merge(members, tokenizer=tokenizer, vocabulary=vocabulary, missing_tokens=missing_tokens)
        return network_of({tensor.name: tensor.shape for tensor in plan.tensors}, plan.config, tied=plan.tied)


def _of_settings(folder: Path) -> Network:
    """The network that a config.json describes, built without memory for its weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        with torch.device("meta"):
            live = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise UnknownSizeError(f"no model can be made of {folder / _SETTINGS}: {error}") from error
    shapes = {name: tuple(parameter.shape) for name, parameter in live.named_parameters()}
    return network_of(shapes, _read(folder / _SETTINGS), tied=bool(config.get_text_config().tie_word_embeddings))


def _folder(source: str) -> Path | None:
    """Where a model is on this machine: its folder, or the hub's cache; None if it is not."""
    name, revision = resolve(source)
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def _is_whole(folder: Path | None) -> bool:
    """Whether a folder has the weights of a model and is no adapter, whose base may lie on the hub."""
    if folder is None or (folder / _ADAPTER).is_file() or not (folder / _SETTINGS).is_file():
        return False
    try:
        with Checkpoint.of(folder):
            return True
    except UserError as error:  # some or all of its weights have not been downloaded
        log.info("the size of %s is not taken from its weights: %s", folder, error)
        return False


def _read(path: Path) -> Mapping[str, Any]:
    settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return settings
