"""What a tensor is, by the names that the common architectures give.

Llama, Mistral, Qwen, Gemma, Phi, OPT, GPT-2, GPT-NeoX, Falcon, Mixtral and Qwen's mixtures of experts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from bai_sweep.merging._types import Part, TensorSpec

FLOATING = ("F64", "F32", "F16", "BF16")
_EMBEDDINGS = ("embed_tokens", "wte", "embed_in", "word_embeddings", "tok_embeddings")
_BY_ROW = (*_EMBEDDINGS, "embed_tokens_per_layer")
_HEAD = re.compile(r"(^|\.)(lm_head|embed_out)\.weight$|^output\.weight$")
_HEAD_BIAS = re.compile(r"(^|\.)(lm_head|embed_out)\.bias$")
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|layer)\.(\d+)\.")
_COMPUTED = re.compile(r"rotary_emb\.(inv_freq|cos_cached|sin_cached)$|\.(attn|attention)\.masked_bias$")
_MASK = re.compile(r"\.(attn|attention)\.bias$")
_PARTS: tuple[tuple[Part, re.Pattern[str]], ...] = (
    ("head", re.compile(r"(^|\.)(lm_head|embed_out)\.|^output\.weight$")),
    # what stands inside a block of norms and attention (DBRX) is told by what follows
    ("norms", re.compile(r"norm(?!.*\.(attn|ffn)\.)|(^|\.)ln(\d|f\b|_\w)|_ln\.")),
    ("embeddings", re.compile(rf"(^|\.)({'|'.join(_BY_ROW)}|wpe|embed_positions)\.")),
    ("attention", re.compile(r"(^|\.)(self_attn|cross_attn|attn|attention|self_attention|linear_attn)\.")),
    ("mlp", re.compile(r"(^|\.)(mlp|shared_mlp|feed_forward|ffn|block_sparse_moe|moe|fc1|fc2)(\.|$)")),
)


def embedding_of(specs: Mapping[str, TensorSpec]) -> str | None:
    """The input embedding's name."""
    found = [name for name in specs if name.removesuffix(".weight").rpartition(".")[2] in _EMBEDDINGS]
    return min(found, key=len, default=None)


def head_of(specs: Iterable[str]) -> str | None:
    """The output head's name; None where the embedding is the head."""
    return next((name for name in specs if _HEAD.search(name)), None)


def head_beside(embedding: str) -> str:
    """What the head of a model with this embedding is called."""
    return "embed_out.weight" if embedding.endswith("embed_in.weight") else "lm_head.weight"


def by_row(name: str) -> bool:
    """Whether a tensor's first dimension is the vocabulary."""
    if _HEAD.search(name) or _HEAD_BIAS.search(name):
        return True
    return name.removesuffix(".weight").rpartition(".")[2] in _BY_ROW


def computed(name: str, spec: TensorSpec) -> bool:
    """Whether old checkpoints hold it beside the parameters, and every version of transformers computes it."""
    return bool(_COMPUTED.search(name)) or (bool(_MASK.search(name)) and len(spec.shape) == 4)


def part_of(name: str) -> Part:
    """Where in a model a tensor stands; a norm inside an attention is a norm."""
    return next((part for part, pattern in _PARTS if pattern.search(name)), "other")


def depths_of(names: Iterable[str]) -> dict[str, float | None]:
    """The relative depth of each tensor's layer: 0 for the first and 1 for the last; None outside the layers."""
    found = {name: _LAYER.search(name) for name in names}
    last: dict[str, int] = {}
    for match in found.values():
        if match:
            stack = match.string[: match.start(1)]
            last[stack] = max(last.get(stack, 0), int(match[1]))
    return {
        name: int(match[1]) / max(1, last[match.string[: match.start(1)]]) if match else None
        for name, match in found.items()
    }
