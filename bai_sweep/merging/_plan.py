"""What a merge will do, decided before a weight is read for it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bai_sweep.merging._types import Member, TensorInfo, Tensors
from bai_sweep.merging.compatibility import (
    by_row,
    depths_of,
    function_doubts,
    lineage_doubts,
    part_of,
    require_alike,
    rows_of,
    settings_of,
    tie,
)
from bai_sweep.merging.inputs import Settings
from bai_sweep.merging.vocabulary import MissingTokens, VocabularyPlan, aligned, plan_vocabulary, shown
from bai_sweep.records import UserError


@dataclass(frozen=True)
class MergePlan:
    """A merge before its method.

    Args:
        tensors: Of the result, as they follow each other in the tokenizer model's files.
        values: Every member's tensors in the result's names and rows.
        tied: Whether the result's head is its embedding, and is not among `tensors`.
        vocabulary: Which row of each model is which row of the result.
        config: config.json of the result: the tokenizer model's with its vocabulary size and tying.
        doubts: What merges and may not work, a sentence each: to be said by who merges.
        models: Every model, read or not.
        missing_tokens: What stands for a token that a member lacks.
    """

    tensors: tuple[TensorInfo, ...]
    values: Mapping[str, Tensors]
    tied: bool
    vocabulary: VocabularyPlan
    config: dict[str, Any]
    doubts: tuple[str, ...]
    models: Mapping[str, Member | Settings]
    missing_tokens: MissingTokens

    @property
    def members(self) -> dict[str, Member]:
        """The models that are read."""
        return {name: model for name, model in self.models.items() if isinstance(model, Member)}


def plan_merge(
    models: Mapping[str, Member | Settings],
    *,
    tokenizer: str,
    vocabulary: Literal["union", "tokenizer"],
    missing_tokens: MissingTokens,
) -> MergePlan:
    """Checks that the members fit together, and aligns them.

    Args:
        models: In the order of the configuration, the base first. Members are read; of a model of weight 0 the
            settings do: all of them make the vocabulary and decide about the head, so that merges of different
            ratios have the same parameters.
        tokenizer: The model that gives tokenizer and configuration.
        vocabulary: `union` adds the other models' tokens, `tokenizer` drops them.
        missing_tokens: What stands for a token that a member lacks.

    Raises:
        UserError: The members do not fit together, a tokenizer cannot be read, or a token is missing and
            `missing_tokens` is refuse.
    """
    members = {name: model for name, model in models.items() if isinstance(model, Member)}
    configs = {name: model.config for name, model in models.items()}
    folders = {name: model.folder for name, model in models.items()}
    tying = tie(members, {name: config for name, config in configs.items() if name not in members})
    require_alike(members, tying.tensors)
    words = plan_vocabulary(folders, _rows(configs, tying.tensors), tokenizer=tokenizer, mode=vocabulary)
    first = tying.tensors[tokenizer if tokenizer in members else next(iter(members))]
    names = [name for name in first.specs if by_row(name)]
    values = aligned(tying.tensors, words, names, missing_tokens=missing_tokens)
    tensors = _tensors(first, names, words.rows)
    doubts = [
        *tying.doubts,
        *function_doubts(members),
        *words.doubts,
        *_orphans(words, members, missing_tokens),
        *lineage_doubts(members, values, tensors),
    ]
    config = _result(configs[tokenizer], words.rows, tied=tying.tied)
    return MergePlan(tensors, values, tying.tied, words, config, tuple(doubts), models, missing_tokens)


def _rows(configs: Mapping[str, Mapping[str, Any]], tensors: Mapping[str, Tensors]) -> dict[str, int]:
    """Of every model's embedding: counted where it is read, from its configuration otherwise."""
    known = {name: rows_of(view.specs) for name, view in tensors.items()}
    fallback = next((rows for rows in known.values() if rows is not None), 0)
    return {name: known.get(name) or _rows_named(name, config, fallback) for name, config in configs.items()}


def _rows_named(name: str, config: Mapping[str, Any], fallback: int) -> int:
    rows = settings_of(config).get("vocab_size") or fallback
    if type(rows) is not int:
        raise UserError(f"{name}: vocab_size is the number of an embedding's rows; its config.json has {rows!r}")
    return rows


def _tensors(view: Tensors, by_token: Sequence[str], rows: int) -> tuple[TensorInfo, ...]:
    depths = depths_of(view.specs)
    shapes = {name: spec.shape for name, spec in view.specs.items()}
    shapes |= {name: (rows, *shapes[name][1:]) for name in by_token}
    return tuple(TensorInfo(name, shape, part_of(name), depths[name]) for name, shape in shapes.items())


def _orphans(words: VocabularyPlan, members: Mapping[str, Member], missing_tokens: MissingTokens) -> list[str]:
    """Tokens that no model which is read has."""
    lacked = np.zeros(words.rows, dtype=np.int64)
    for name in members:
        lacked[words.lacked(name)] += 1
    ids = np.flatnonzero(lacked == len(members))
    if not ids.size:
        return []
    begin = "zero" if missing_tokens == "zero" else "the mean of all rows"
    return [
        f"{ids.size} tokens of the result are in no model that is read ({shown(words.absent[int(i)] for i in ids)}); "
        f"their rows begin as {begin}"
    ]


def _result(config: Mapping[str, Any], rows: int, *, tied: bool) -> dict[str, Any]:
    result = json.loads(json.dumps(config))
    result["tie_word_embeddings"] = tied
    nested = result.get("text_config")
    if isinstance(nested, dict):
        nested["vocab_size"] = rows
        if "tie_word_embeddings" in nested:
            nested["tie_word_embeddings"] = tied
    if not isinstance(nested, dict) or "vocab_size" in result:
        result["vocab_size"] = rows
    return dict(result)
