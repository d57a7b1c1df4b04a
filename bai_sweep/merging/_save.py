"""Writing a model as a Hugging Face folder, whole or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bai_sweep.records import MergeRecipe, UserError


def save_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    recipe: MergeRecipe,
    folder: Path,
    *,
    dtype: torch.dtype | None = None,
    trained: str | None = None,
) -> Path:
    """Saves weights, tokenizer and `merge.json` (the recipe), beside the folder first and renamed when complete.

    Args:
        model: weights in any dtype; not changed.
        tokenizer: saved with its chat template.
        recipe: what the actor was merged from.
        folder: must not exist.
        dtype: of the saved weights; the model's own where None.
        trained: what changed the weights since the merge, for `merge.json`.

    Raises:
        UserError: the folder exists.
    """
    if folder.exists():
        raise UserError(f"{folder} exists; nothing is overwritten: name another folder or remove it")
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    state = {name: tensor.to(dtype or tensor.dtype) for name, tensor in model.state_dict().items()}
    model.save_pretrained(partial, state_dict=state)
    tokenizer.save_pretrained(partial)
    manifest = {
        "formula": recipe.formula(),
        "weights": dict(recipe.weights),
        "sources": dict(recipe.sources),
        "trained": trained,
    }
    (partial / "merge.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    return partial.replace(folder)
