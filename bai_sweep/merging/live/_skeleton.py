"""A live model whose weights are still to come, and checkpoints that transformers converts while loading."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.initialization import no_init_weights
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from bai_sweep.merging._types import TensorInfo
from bai_sweep.records import UserError


def skeleton(config: Mapping[str, Any], name: str, dtype: torch.dtype) -> PreTrainedModel:
    """A model in evaluation mode with its buffers computed and its parameters left as the memory was.

    Args:
        config: config.json, parsed.
        name: What the model calls itself, a folder.
        dtype: Of the parameters.

    Raises:
        UserError: transformers has no causal language model for this configuration.
    """
    kind = str(config.get("model_type"))
    if kind not in CONFIG_MAPPING:
        raise UserError(f"{name}: config.json has the model_type of a transformers model; got {kind!r}")
    settings = CONFIG_MAPPING[kind].from_dict(dict(config))
    settings._name_or_path = name
    try:
        with no_init_weights():
            live: PreTrainedModel = AutoModelForCausalLM.from_config(settings, dtype=dtype)  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise UserError(f"{name}: an actor is a causal language model; transformers has none here: {error}") from error
    live.tie_weights()
    live.train(False)
    return live


def parameters_of(live: PreTrainedModel, tensors: tuple[TensorInfo, ...]) -> dict[str, Tensor] | None:
    """The parameters that a merge's tensors fill, by their names; None unless they fill each, one to one."""
    state = live.state_dict()
    if any(t.name not in state or tuple(state[t.name].shape) != t.shape for t in tensors) or _kept_wide(live):
        return None
    filled = {state[tensor.name].data_ptr() for tensor in tensors}
    if any(parameter.data_ptr() not in filled for parameter in live.parameters() if parameter.numel()):
        return None
    return {tensor.name: state[tensor.name] for tensor in tensors}


def room_for(live: PreTrainedModel, tensors: tuple[TensorInfo, ...]) -> dict[str, Tensor]:
    """Memory for a merge that the model does not take as it is."""
    dtype = torch.float32 if _kept_wide(live) else live.dtype
    return {tensor.name: torch.empty(tensor.shape, dtype=dtype) for tensor in tensors}


def converted(live: PreTrainedModel, state: dict[str, Tensor]) -> PreTrainedModel:
    """A model of the same kind with these tensors, in the names of its checkpoints: experts one by one, say.

    Raises:
        UserError: Tensors are left over, or lacking.
    """
    load: Any = type(live).from_pretrained  # with the loading's findings it returns a pair
    model: PreTrainedModel
    model, found = load(None, config=live.config, state_dict=state, dtype=live.dtype, output_loading_info=True)
    faults = [
        f"{key.removesuffix('_keys')}: {', '.join(sorted(map(str, found[key]))[:5])}" for key in found if found[key]
    ]
    if faults:
        raise UserError(
            f"{type(live).__name__} does not take the tensors of the checkpoints ({'; '.join(faults)}); check that "
            "config.json and the weights belong together, and that this version of transformers knows the model"
        )
    return model  # in evaluation mode


def _kept_wide(live: PreTrainedModel) -> bool:
    """Whether transformers keeps some of the parameters in float32, whatever the dtype of the others."""
    return live.dtype != torch.float32 and bool(
        getattr(live, "_keep_in_fp32_modules_strict", None)
        or (live.dtype == torch.float16 and getattr(live, "_keep_in_fp32_modules", None))
    )
