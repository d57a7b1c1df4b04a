"""A model's own head, or its embedding for one: every member of a merge is seen with the same tensors."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from bai_sweep.merging._types import Member, Tensors, TensorSpec, Values
from bai_sweep.merging.compatibility._names import FLOATING, computed, embedding_of, head_beside, head_of

# a configuration may leave out what is its class's default; these classes tie
_TIE_BY_DEFAULT = (
    *("biogpt", "bloom", "cohere", "cohere2", "cohere2_moe", "cpmant", "ctrl", "ernie4_5", "ernie4_5_moe", "falcon"),
    *("falcon_mamba", "gpt-sw3", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox_japanese", "granite_swa", "jetmoe"),
    *("lfm2", "lfm2_moe", "lfm3", "mamba", "minicpm3", "modernbert-decoder", "mpt", "openai-gpt", "opt"),
    *("recurrent_gemma", "smollm3", "starcoder2", "vaultgemma", "xglm", "youtu", "zamba", "zamba2", "zaya"),
)


@dataclass(frozen=True)
class Tying:
    """Whether the merge's head is its embedding; each member's tensors under the merge's names; what is doubtful."""

    tied: bool
    tensors: Mapping[str, Tensors]
    doubts: tuple[str, ...]


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the language model, which a model of several kinds of input nests."""
    nested = config.get("text_config")
    return {**config, **nested} if isinstance(nested, Mapping) else dict(config)


def tie(members: Mapping[str, Member], others: Mapping[str, Mapping[str, Any]]) -> Tying:
    """Brings heads together: one model with a head of its own gives the merge one, and the tied ones' are embeddings.

    Args:
        members: What is read.
        others: The configurations of the models that are not read; they count, so that actors of different ratios
            have the same parameters.
    """
    own = {name: _own_head(member) for name, member in members.items()}
    doubts = [
        f"{name}: its config.json unties the head from the embedding, and no head is stored; the embedding is its head"
        for name, member in members.items()
        if not ties(member.config) and head_of(member.tensors.specs) is None
    ]
    tied = not any(own.values()) and all(ties(config) for config in others.values())
    copied = copied_tensors(members)
    head = next((found for one in members.values() if (found := head_of(one.tensors.specs))), None)
    views = {
        name: _seen(member.tensors, head, tied=tied, own=own[name], without=copied) for name, member in members.items()
    }
    return Tying(tied, views, tuple(doubts))


def copied_tensors(members: Mapping[str, Member]) -> set[str]:
    """Tensors of no floating numbers (counters, masks) in every member that has them: they are no part of a merge."""
    kinds = [(name, spec.dtype in FLOATING) for one in members.values() for name, spec in one.tensors.specs.items()]
    return {name for name, _ in kinds} - {name for name, floating in kinds if floating}


def ties(config: Mapping[str, Any]) -> bool:
    """Whether a model's head is its embedding, by its configuration."""
    settings = settings_of(config)
    flag = settings.get("tie_word_embeddings")
    if flag is not None:
        return bool(flag)
    kind = str(settings.get("model_type", ""))
    return kind in _TIE_BY_DEFAULT or kind.startswith("gemma")


def _own_head(member: Member) -> bool:
    """A head stored beside a tie is the embedding once more: transformers does not read it either."""
    return head_of(member.tensors.specs) is not None and not ties(member.config)


def _seen(tensors: Tensors, head: str | None, *, tied: bool, own: bool, without: Collection[str]) -> Tensors:
    specs = tensors.specs
    names = {name: name for name, spec in specs.items() if name not in without and not computed(name, spec)}
    embedding = embedding_of(specs)
    head = head or (head_beside(embedding) if embedding else None)
    if head and tied:
        names.pop(head, None)
    elif head and embedding and not own:
        names[head] = embedding
    return tensors if names == {name: name for name in specs} else _Renamed(tensors, names)


class _Renamed:
    def __init__(self, source: Tensors, names: Mapping[str, str]) -> None:
        self._source = source
        self._names = dict(names)
        self._specs = {name: source.specs[stored] for name, stored in names.items()}

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        return self._specs

    def read(self, name: str, start: int, into: Values) -> None:
        self._source.read(self._names[name], start, into)
