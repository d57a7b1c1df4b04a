"""What a model is, as one number: the key under which its answers are kept."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_NOT_THE_MODEL = ("_name_or_path", "transformers_version", "dtype", "torch_dtype")


def model_digest(model: PreTrainedModel) -> str:
    """SHA-256 over the names, shapes, dtypes and bytes of all weights and over the configuration, in hexadecimal.

    The same weights in another dtype, or on another kind of device, answer differently in the last bits: both are part
    of it. Where the model came from is not.
    """
    config = {key: value for key, value in model.config.to_dict().items() if key not in _NOT_THE_MODEL}
    state = model.state_dict()
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # hashing lets go of Python's lock
        digests = list(pool.map(_tensor_digest, state.values()))
    total = hashlib.sha256(json.dumps([model.device.type, config], sort_keys=True, default=str).encode())
    for (name, tensor), digest in zip(state.items(), digests, strict=True):
        total.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} {digest}\n".encode())
    return total.hexdigest()


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 over what a tokenizer makes of text and of tokens."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    text = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _tensor_digest(tensor: Tensor) -> str:
    raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(raw.numpy().data).hexdigest()
