"""A live model as a Hugging Face folder, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bai_sweep.merging.output._beside import written_beside
from bai_sweep.merging.output._manifest import MANIFEST, recipe_rows
from bai_sweep.merging.output._settings import write_json
from bai_sweep.records import MergeRecipe

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


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
        UserError: The folder exists, or there is no room for it.
    """
    needed = sum(tensor.numel() * (dtype or tensor.dtype).itemsize for tensor in model.parameters())
    with written_beside(folder, needed) as partial:
        state = {name: tensor.to(dtype or tensor.dtype) for name, tensor in model.state_dict().items()}
        model.save_pretrained(partial, state_dict=state)
        tokenizer.save_pretrained(partial)
        write_json(partial / MANIFEST, {**recipe_rows(recipe), "trained": trained})
    return folder
