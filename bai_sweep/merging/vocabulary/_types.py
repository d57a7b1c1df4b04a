"""How the vocabularies of a merge meet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
"""For each row of the result the row of a model, -1 where the model has none."""


@dataclass(frozen=True)
class AddedToken:
    """A token that the result's tokenizer gets from another model, with that model's settings for it."""

    token: str
    id: int
    special: bool
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    single_word: bool = False


@dataclass(frozen=True)
class VocabularyPlan:
    """Which row of each model becomes which row of the result.

    Args:
        tokenizer: The model that gives the tokenizer; its tokens keep their ids.
        rows: Of the result.
        maps: Of every model, the unread ones too; None where its rows are the result's.
        added: To be added to the tokenizer, in the order of their ids.
        lacking: How many of the result's tokens each model lacks.
        padded: The rows of the result that no token uses.
        absent: The tokens that some model lacks, by their ids in the result.
        doubts: What may be wrong, a sentence each.
    """

    tokenizer: str
    rows: int
    maps: Mapping[str, Rows | None]
    added: tuple[AddedToken, ...]
    lacking: Mapping[str, int]
    padded: NDArray[np.bool_]
    absent: Mapping[int, str]
    doubts: tuple[str, ...]

    def lacked(self, model: str) -> Rows:
        """The ids of the tokens that a model lacks."""
        rows = self.maps[model]
        if rows is None:
            return np.empty(0, dtype=np.int64)
        return np.flatnonzero((rows < 0) & ~self.padded)

    def translated(self, model: str, token_id: int) -> int | None:
        """The result's id for a model's id (its end of sequence, say); None if the result lacks the token."""
        rows = self.maps[model]
        if rows is None:
            return token_id if 0 <= token_id < self.rows else None
        found = np.flatnonzero(rows == token_id)
        return int(found[0]) if found.size else None
