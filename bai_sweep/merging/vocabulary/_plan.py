"""Tokens to rows: the result's ids, and where each model has the row of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bai_sweep.merging.vocabulary._read import (
    Vocabulary,
    fingerprint,
    has_tokenizer,
    may_reach,
    read_vocabulary,
)
from bai_sweep.merging.vocabulary._types import AddedToken, Rows, VocabularyPlan
from bai_sweep.records import UserError

_LARGEST_MULTIPLE = 128
_MANY = 0.05
_FLAGS = ("lstrip", "rstrip", "normalized", "single_word")


def plan_vocabulary(
    folders: Mapping[str, Path], rows: Mapping[str, int], *, tokenizer: str, mode: Literal["union", "tokenizer"]
) -> VocabularyPlan:
    """Aligns the models' vocabularies by token.

    Args:
        folders: Of every model, read or not, the folder with its tokenizer; the order decides that of new ids.
        rows: Of every model, how many its embedding has.
        tokenizer: The model whose tokens keep their ids, and whose rows the result has at least.
        mode: Whether the other models' tokens are added or dropped.

    Raises:
        UserError: The model named has no tokenizer, or one cannot be read.
    """
    if not has_tokenizer(folders[tokenizer]):
        raise UserError(_without_tokenizer(folders, tokenizer))
    unknown = [name for name in folders if name != tokenizer and not has_tokenizer(folders[name])]
    prints = {name: fingerprint(folder) for name, folder in folders.items() if name not in unknown}
    doubts = [f"{name} has no tokenizer; its ids are taken to be those of {tokenizer}" for name in unknown]
    alike = None not in prints.values() and len(set(prints.values())) == 1
    if alike and not may_reach(folders[tokenizer], min(rows.values())):
        return _by_position(rows, tokenizer, doubts)
    vocabularies = _read_once(folders, prints)
    vocabularies |= dict.fromkeys(unknown, vocabularies[tokenizer])
    return _by_token({name: vocabularies[name] for name in folders}, rows, tokenizer, mode, doubts)


def _without_tokenizer(folders: Mapping[str, Path], tokenizer: str) -> str:
    rule = f"the model named as tokenizer gives the result its own; {tokenizer} has none in {folders[tokenizer]}"
    having = [name for name, folder in folders.items() if has_tokenizer(folder)]
    if having:
        return f"{rule}: choose tokenizer={having[0]}" + (f" (or {', '.join(having[1:])})" if having[1:] else "")
    return f"{rule}, nor has another model: save one with transformers into that folder"


def _read_once(folders: Mapping[str, Path], prints: Mapping[str, bytes | None]) -> dict[str, Vocabulary]:
    seen: dict[bytes | str, Vocabulary] = {}
    found: dict[str, Vocabulary] = {}
    for name, key in prints.items():
        known = key or name
        if known not in seen:
            seen[known] = read_vocabulary(folders[name])
        found[name] = seen[known]
    return found


def _by_position(rows: Mapping[str, int], tokenizer: str, doubts: Iterable[str]) -> VocabularyPlan:
    """One tokenizer for all: models differ in their padding, if at all."""
    total = rows[tokenizer]
    ids = np.arange(total)
    maps = {name: None if own == total else np.where(ids < own, ids, -1) for name, own in rows.items()}
    padded = ids >= min(rows.values())
    return VocabularyPlan(tokenizer, total, maps, (), dict.fromkeys(rows, 0), padded, {}, tuple(doubts))


@dataclass(frozen=True)
class _Extra:
    token: str
    model: str
    ordinary: bool


def _by_token(
    vocabularies: Mapping[str, Vocabulary],
    rows: Mapping[str, int],
    tokenizer: str,
    mode: Literal["union", "tokenizer"],
    doubts: Iterable[str],
) -> VocabularyPlan:
    own = vocabularies[tokenizer]
    extras = _extras(vocabularies, own)
    said = [*doubts, *_doubts_of_ids(vocabularies, rows), *_doubts_of_extras(extras, tokenizer, mode)]
    first = max(own.ids.values(), default=-1) + 1
    kept = extras if mode == "union" else []
    added = tuple(_added(extra, first + i, vocabularies[extra.model]) for i, extra in enumerate(kept))
    ids = dict(own.ids) | {entry.token: entry.id for entry in added}
    total = _rows(rows[tokenizer], first, first + len(added))
    padded = np.ones(total, dtype=np.bool_)
    padded[_column(ids.values())] = False
    maps = {name: _map(ids, padded, vocabularies[name], rows[name]) for name in vocabularies}
    lacks = {name: (found < 0) & ~padded for name, found in maps.items()}
    lacking = {name: int(lack.sum()) for name, lack in lacks.items()}
    absent = _absent(ids, np.logical_or.reduce([*lacks.values()]))
    said += _doubts_of_share(lacking, len(ids))
    identity = np.arange(total)
    thin = {n: None if rows[n] == total and np.array_equal(m, identity) else m for n, m in maps.items()}
    return VocabularyPlan(tokenizer, total, thin, added, lacking, padded, absent, tuple(said))


def _extras(vocabularies: Mapping[str, Vocabulary], own: Vocabulary) -> list[_Extra]:
    """The other models' tokens, each once, model by model and by their ids there."""
    found: dict[str, _Extra] = {}
    done: list[Vocabulary] = [own]
    for name, vocabulary in vocabularies.items():
        if any(vocabulary is other for other in done):
            continue
        done.append(vocabulary)
        tokens = [t for t in vocabulary.ids if t not in own.ids and t not in found]
        tokens.sort(key=lambda token: (vocabulary.ids[token], token))
        found |= {token: _Extra(token, name, token not in vocabulary.added) for token in tokens}
    return list(found.values())


def _added(extra: _Extra, token_id: int, vocabulary: Vocabulary) -> AddedToken:
    settings: Mapping[str, Any] = vocabulary.added.get(extra.token, {})
    flags = {name: bool(settings.get(name, False)) for name in _FLAGS}
    return AddedToken(extra.token, token_id, bool(settings.get("special", False)), **flags)


def _rows(current: int, own: int, needed: int) -> int:
    """The tokenizer model's rows; more if its tokens or the new ones need them, then padded as it pads.

    A model has padding if it has more rows than its tokenizer has ids; its rows' largest factor that is a power of
    two, 128 at most, is then taken to be the multiple it pads to.
    """
    if needed <= current:
        return current
    multiple = min(current & -current, _LARGEST_MULTIPLE) if current > own else 1
    return -(-needed // multiple) * multiple


def _map(ids: Mapping[str, int], padded: NDArray[np.bool_], vocabulary: Vocabulary, rows: int) -> Rows:
    found = np.full(len(padded), -1, dtype=np.int64)
    theirs = np.fromiter((vocabulary.ids.get(token, -1) for token in ids), dtype=np.int64, count=len(ids))
    have = (theirs >= 0) & (theirs < rows)
    found[_column(ids.values())[have]] = theirs[have]
    used = np.zeros(max(rows, len(padded)), dtype=np.bool_)
    column = _column(vocabulary.ids.values())
    used[column[column < len(used)]] = True
    # a padded row stays where it is, unless the model has a token there
    spare = np.flatnonzero(padded[:rows] & ~used[: min(rows, len(padded))])
    found[spare] = spare
    return found


def _column(ids: Iterable[int]) -> Rows:
    return np.fromiter(ids, dtype=np.int64)


def _absent(ids: Mapping[str, int], lacked: NDArray[np.bool_]) -> dict[int, str]:
    if not lacked.any():
        return {}
    wanted = set(np.flatnonzero(lacked).tolist())
    return dict(sorted((token_id, token) for token, token_id in ids.items() if token_id in wanted))


def _doubts_of_ids(vocabularies: Mapping[str, Vocabulary], rows: Mapping[str, int]) -> list[str]:
    said = []
    for name, vocabulary in vocabularies.items():
        beyond = sorted((i, token) for token, i in vocabulary.ids.items() if i >= rows[name])
        if beyond:
            said.append(
                f"{name}: {len(beyond)} tokens have ids beyond its {rows[name]} rows ({shown(t for _, t in beyond)}); "
                "they count as tokens that it lacks"
            )
    return said


def _doubts_of_extras(extras: list[_Extra], tokenizer: str, mode: str) -> list[str]:
    said = []
    for model in dict.fromkeys(extra.model for extra in extras):
        tokens = [extra for extra in extras if extra.model == model]
        ordinary = [extra for extra in tokens if extra.ordinary]
        if mode == "tokenizer":
            said.append(
                f"{model}: {len(tokens)} of its tokens are not in the tokenizer of {tokenizer} and are dropped "
                f"({shown(extra.token for extra in tokens)}); vocabulary=union keeps them"
            )
        elif ordinary:
            said.append(
                f"{model}: {len(ordinary)} tokens of its own vocabulary are added to the tokenizer of {tokenizer} "
                f"({shown(extra.token for extra in ordinary)}), which splits text in its own way and will hardly "
                "produce them; the models come of different tokenizers"
            )
    return said


def _doubts_of_share(lacking: Mapping[str, int], total: int) -> list[str]:
    return [
        f"{name} lacks {count} of the result's {total} tokens ({count / total:.0%}); its tokenizer may be another"
        for name, count in lacking.items()
        if count > _MANY * total
    ]


def shown(tokens: Iterable[str]) -> str:
    """The first ten of some tokens, for a message."""
    listed = [repr(token) for token in tokens]
    return ", ".join(listed[:10]) + (", ..." if len(listed) > 10 else "")
