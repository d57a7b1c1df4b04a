"""A live model as a Hugging Face folder, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bai_sweep.merging.output._beside import written_beside
from bai_sweep.merging.output._manifest import MANIFEST, recipe_rows
from bai_sweep.merging.output._settings import in_dtype, read_json, write_json
from bai_sweep.records import MergeRecipe

if TYPE_CHECKING:
    import torch
    from torch import Tensor
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
        with _generating_as_it_does(model, partial):
            model.save_pretrained(partial, state_dict=_state(model, dtype))
        if dtype is not None:  # save_pretrained names the live model's
            config = in_dtype(read_json(partial / "config.json"), str(dtype).removeprefix("torch."))
            write_json(partial / "config.json", config)
        tokenizer.save_pretrained(partial)
        write_json(partial / MANIFEST, {**recipe_rows(recipe), "trained": trained})
    return folder


def _state(model: PreTrainedModel, dtype: torch.dtype | None) -> dict[str, Tensor]:
    """The tensors in the dtype; a tied one is converted once, so that it is still known to be one."""
    state: dict[str, Tensor] = dict(model.state_dict())
    if dtype is None:
        return state
    made: dict[tuple[int, tuple[int, ...]], Tensor] = {}
    for tensor in state.values():
        if tensor.is_floating_point():
            made.setdefault((tensor.data_ptr(), tuple(tensor.shape)), tensor.to(dtype))
    return {name: made.get((tensor.data_ptr(), tuple(tensor.shape)), tensor) for name, tensor in state.items()}


@contextmanager
def _generating_as_it_does(model: PreTrainedModel, folder: Path) -> Iterator[None]:
    """Around `save_pretrained`, which refuses what published models set: a temperature without sampling, say."""
    from transformers import GenerationConfig

    own = model.generation_config
    if own is None:
        yield
        return
    model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        model.generation_config = own
    own.to_json_file(folder / "generation_config.json", use_diff=True, keys_to_pop=["compile_config"])
