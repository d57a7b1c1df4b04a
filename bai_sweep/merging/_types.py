"""What the rooms of merging hand to each other. Values are float32 numpy vectors, whatever a file stores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]
"""A run of a flattened tensor's elements."""

Dtype = Literal["F64", "F32", "F16", "BF16"]
"""A floating type by its name in safetensors."""

Part = Literal["embeddings", "attention", "mlp", "norms", "head", "other"]
"""Where in a model a tensor stands."""

BLOCK = 262144
"""Elements worked on at a time: few enough that a cache holds them, enough that threads seldom meet between two of
numpy's calls, where only one runs."""


@dataclass(frozen=True)
class TensorSpec:
    """What a header says of a tensor."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """Elements."""
        return prod(self.shape)


class Tensors(Protocol):
    """A model's tensors by name, read in pieces; safe to use from several threads at once."""

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        """Every tensor that is there."""

    def read(self, name: str, start: int, into: Values) -> None:
        """Fills `into` with the elements from `start` on, converted to float32 exactly.

        Raises:
            UserError: The file cannot be read, or ends early.
        """


class StoredTensors(Tensors, Protocol):
    """Those of a model's files."""

    def raw(self, name: str) -> bytes:
        """A tensor that is copied and not merged, as it is in its file."""

    def changed(self) -> Path | None:
        """A file that is another than when it was opened: what was read may be of both."""


@dataclass(frozen=True)
class Member:
    """One model of a merge.

    Args:
        name: `base`, or the SFT model's name.
        source: As the user named it, a hub id with the commit that was read: `owner/name@<commit>`.
        folder: Where its config.json and its tokenizer are.
        config: config.json, parsed; an adapter has its base's.
        tensors: Its weights; an adapter's are those of its base with the adapter added.
        files: The files that hold the weights, in order; an adapter has its base's and its own.
    """

    name: str
    source: str
    folder: Path
    config: Mapping[str, Any]
    tensors: StoredTensors
    files: tuple[Path, ...]


@dataclass(frozen=True)
class TensorInfo:
    """A tensor of the merge.

    Args:
        name: As in the checkpoints.
        shape: Of the merge; of an embedding it may have other rows than a member's.
        part: Where in the model it stands.
        depth: The relative depth of its layer, 0 for the first and 1 for the last; None outside the layers.
    """

    name: str
    shape: tuple[int, ...]
    part: Part
    depth: float | None

    @property
    def size(self) -> int:
        """Elements."""
        return prod(self.shape)


class Block(Protocol):
    """A run of a tensor's elements, and room to work in that no other thread uses."""

    @property
    def tensor(self) -> TensorInfo:
        """The tensor."""

    @property
    def start(self) -> int:
        """The first element."""

    @property
    def size(self) -> int:
        """How many elements, at most BLOCK."""

    def read(self, member: str, room: int = 0) -> Values:
        """The member's elements, in the room of this number (overwritten by the next read into it)."""

    def room(self, number: int) -> Values:
        """A vector of `size` elements to write to. Numbers are small; a method uses as few as it can."""


class Method(ABC):
    """How the members' values become the merge's.

    A method is immutable and holds no tensor: the engine asks `survey` once for each tensor and `combine` for each
    of its blocks, in any order, from several threads. The result for an element depends on nothing but the
    arguments: not on where blocks begin, nor on which thread asks.
    """

    @property
    @abstractmethod
    def members(self) -> tuple[str, ...]:
        """The members that are read, the base first if it is one of them."""

    def survey(self, tensor: TensorInfo, blocks: Iterable[Block]) -> object:
        """What has to be known of the whole tensor before a block can be merged; most methods need nothing."""
        del tensor, blocks
        return None

    @property
    def surveys(self) -> int:
        """How often `survey` reads every tensor: what a dry run counts."""
        return 0

    @abstractmethod
    def combine(self, block: Block, survey: Any) -> Values:
        """The merged values of a block, before rounding, in one of the block's rooms."""


class Sink(Protocol):
    """Where merged values go; safe to use from several threads at once."""

    def write(self, name: str, start: int, values: Values) -> None:
        """Rounds the values and stores them from element `start` on.

        Raises:
            UserError: A value is not finite in the sink's dtype.
        """


class Observer(Protocol):
    """What looks on while a merge runs."""

    def see(self, block: Block, merged: Values) -> None:
        """A merged block; it may read the members into rooms of the block that do not hold `merged`."""
