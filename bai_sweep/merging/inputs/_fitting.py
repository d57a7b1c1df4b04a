"""An adapter's tensors laid over its base's: what is replaced, what is added to, and what becomes of a tied head."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from bai_sweep.merging._types import TensorSpec, Values
from bai_sweep.merging.inputs._adapter import LoraSettings, merge_first
from bai_sweep.merging.inputs._checkpoint import Checkpoint
from bai_sweep.records import UserError

EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")
_HEADS = ("lm_head.weight", "embed_out.weight")
_PREFIX = "base_model.model."
_FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<letter>[AB])(\.weight)?")
_WHOLE = re.compile(r"(?P<module>.+?)(\.base_layer|\.modules_to_save)?\.(?P<leaf>weight|bias)")
# what PEFT keeps beside a module that is trained whole: its weights before training
_BEFORE = ".original_module."
_PIECE = 131072


@dataclass(frozen=True)
class Delta:
    """A module's factors, by their names in the adapter: `scale * B @ A` is added, transposed if so stored."""

    a: str
    b: str
    scale: float
    transposed: bool


@dataclass(frozen=True)
class Placed:
    """Where a tensor's values are, by which name, and what is added to them."""

    holder: Checkpoint
    name: str
    delta: Delta | None = None

    @property
    def spec(self) -> TensorSpec:
        """Shape and dtype there."""
        return self.holder.specs[self.name]


@dataclass(frozen=True)
class Fitting:
    """An adapter and its base.

    Args:
        base: The base's tensors.
        adapter: The adapter's.
        settings: The adapter's.
        source: The adapter, for messages.
    """

    base: Checkpoint
    adapter: Checkpoint
    settings: LoraSettings
    source: str

    def tensors(self) -> tuple[dict[str, Placed], bool]:
        """Every tensor of the adapted model, and whether it has a head of its own that the base has not.

        Raises:
            UserError: The adapter does not fit the base, or holds something else than a LoRA.
        """
        wholes, factors = self._sorted()
        saved = {self._name(name): Placed(self.adapter, key) for name, key in wholes.items()}
        found = {name: Placed(self.base, name) for name in self.base.specs} | saved
        head, embedding = self._head(), next((n for n in self.base.specs if n.endswith(EMBEDDINGS)), None)
        tied = embedding if head not in self.base.specs else None
        if tied and head not in found:
            # for the time being, so that a delta finds it
            found[head] = self._tied_head(tied, saved.get(tied))
        found |= {name: replace(found[name], delta=delta) for name, delta in self._deltas(factors, found).items()}
        if not tied:
            return found, False
        if self.settings.ensure_weight_tying or _alike(found[head], found[tied]):
            del found[head]
        return found, head in found

    def _sorted(self) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
        """The adapter's tensors: those that replace one of the base's by its name, and factors by their module's."""
        wholes: dict[str, str] = {}
        factors: dict[str, dict[str, str]] = {}
        for key in self.adapter.specs:
            name = key.removeprefix(_PREFIX)
            if _BEFORE in name:
                continue
            if found := _FACTOR.fullmatch(name):
                factors.setdefault(found["module"], {})[(found["embedding"] or "") + found["letter"]] = key
            elif name in self.base.specs:
                wholes[name] = key
            elif (found := _WHOLE.fullmatch(name)) and ".lora_" not in name and ".token_adapter." not in name:
                wholes[f"{found['module']}.{found['leaf']}"] = key
            else:
                raise UserError(
                    f"{self.source}: a LoRA holds lora_A, lora_B and whole weights and biases; it has {key}; "
                    + merge_first(self.source)
                )
        return wholes, factors

    def _name(self, name: str) -> str:
        """A tensor's name in the base, whose names may lack the model's prefix, or have one more."""
        if name in self.base.specs or name in _HEADS:
            return name
        found = [n for n in self.base.specs if name.endswith(f".{n}") or n.endswith(f".{name}")]
        if len(found) != 1:
            raise UserError(f"{self.source}: it adapts {name}, and its base has no such tensor; {_OTHER_BASE}")
        return found[0]

    def _head(self) -> str:
        """The head's name: as in the base, else as in the adapter."""
        stored = (name for name in self.base.specs if name.endswith(_HEADS))
        modules = {key.removeprefix(_PREFIX).split(".")[0] for key in self.adapter.specs}
        named = (head for head in _HEADS if head.removesuffix(".weight") in modules)
        return next(stored, None) or next(named, _HEADS[0])

    def _tied_head(self, embedding: str, replaced: Placed | None) -> Placed:
        """What a head is that the adapter does not hold, and that was the base's embedding."""
        if replaced is None:
            return Placed(self.base, embedding)
        # A module that was trained whole was a copy, and the head stayed. An embedding that is merely stored with
        # the adapter, or has other rows, is the head's too.
        copied = self.settings.saves(embedding.removesuffix(".weight"))
        same_shape = replaced.spec.shape == self.base.specs[embedding].shape
        return Placed(self.base, embedding) if copied and same_shape else replaced

    def _deltas(self, factors: Mapping[str, dict[str, str]], found: Mapping[str, Placed]) -> dict[str, Delta]:
        names = {module: self._name(f"{module}.weight") for module in factors}
        ways: dict[str, list[bool]] = {}
        for module, letters in factors.items():
            if names[module] not in found:
                raise UserError(f"{self.source}: it adapts {names[module]}, and has no base for it; {_OTHER_BASE}")
            ways[module] = self._ways(module, letters, names[module], found[names[module]].spec.shape)
        usual = self._usual_way({names[module]: way for module, way in ways.items()})
        deltas: dict[str, Delta] = {}
        for module, letters in factors.items():
            a, b = (letters[letter] for letter in sorted(letters))
            transposed = usual if len(ways[module]) > 1 else ways[module][0]
            deltas[names[module]] = Delta(a, b, self.settings.scale(module), transposed)
        return deltas

    def _ways(self, module: str, letters: Mapping[str, str], name: str, shape: tuple[int, ...]) -> list[bool]:
        """Whether the product fits its tensor as it is (False), transposed (True), or either way."""
        if set(letters) not in ({"A", "B"}, {"embedding_A", "embedding_B"}):
            raise UserError(f"{self.source}: an adapted module has A and B; {module} has {', '.join(sorted(letters))}")
        a, b = (self.adapter.specs[letters[letter]].shape for letter in sorted(letters))
        rank = self.settings.rank(module)
        if len(a) != 2 or len(b) != 2:
            raise UserError(
                f"{self.source}: LoRA factors are matrices; those of {module} are {list(a)} and {list(b)}; "
                + merge_first(self.source)
            )
        if a[0] != rank or b[1] != rank:
            raise UserError(
                f"{self.source}: adapter_config.json gives {module} the rank {rank}, and its factors are {list(a)} "
                f"and {list(b)}; fetch both files again"
            )
        possible = (True,) if "embedding_A" in letters else (False, True)
        ways = [way for way in possible if shape == ((a[1], b[0]) if way else (b[0], a[1]))]
        if not ways:
            raise UserError(
                f"{self.source}: its factors for {name} are {list(a)} and {list(b)}, and the tensor is {list(shape)}; "
                + _OTHER_BASE
            )
        return ways

    def _usual_way(self, ways: Mapping[str, list[bool]]) -> bool:
        """How square weights are stored: like the others. PEFT has one flag for all, and the last module sets it."""
        seen = {w[0] for n, w in ways.items() if len(w) == 1 and not n.endswith((*_HEADS, *EMBEDDINGS))}
        return seen.pop() if len(seen) == 1 else self.settings.fan_in_fan_out


_OTHER_BASE = "name the base that it was trained on as base_model_name_or_path in adapter_config.json"


def _alike(one: Placed, other: Placed) -> bool:
    """Whether two tensors hold the same values; those that something is added to are taken to differ."""
    if one.delta or other.delta or one.spec.shape != other.spec.shape:
        return False
    if one == other:
        return True
    return all(np.array_equal(mine, theirs) for mine, theirs in zip(_pieces(one), _pieces(other), strict=True))


def _pieces(tensor: Placed) -> Iterator[Values]:
    for start in range(0, tensor.spec.size, _PIECE):
        piece = np.empty(min(_PIECE, tensor.spec.size - start), np.float32)
        tensor.holder.read(tensor.name, start, piece)
        yield piece
