"""The tokens of a model folder and their ids, read from its files; transformers only where those do not say."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bai_sweep.merging._json import read_json
from bai_sweep.records import UserError

_FAST, _CONFIG = "tokenizer.json", "tokenizer_config.json"
_SLOW = ("vocab.json", "added_tokens.json")
_OTHER = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.txt", "*.tiktoken")
_SPECIALS = "special_tokens_map.json"
# a token may be spelt like a key, but a number follows it
_LISTED = re.compile(rb'"vocab"\s*:\s*\[')
_MERGES = re.compile(rb'"merges"\s*:\s*\[')
# what the tokenizers library writes before the merges
_EARLIER = re.compile(rb'"(added_tokens|vocab)"\s*:')


@dataclass(frozen=True)
class Vocabulary:
    """Args: ids: of every token. added: the settings of those that stand outside the tokenizer's model."""

    ids: Mapping[str, int]
    added: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def has_tokenizer(folder: Path) -> bool:
    """Whether any file of a tokenizer is there."""
    return any(True for name in (_FAST, _CONFIG, *_SLOW, *_OTHER) for _ in folder.glob(name))


def fingerprint(folder: Path) -> bytes | None:
    """Equal for folders whose tokenizers have the same tokens for certain; None if no file tells."""
    if not any((folder / name).is_file() for name in (_FAST, _SLOW[0])):
        return None
    digest = hashlib.sha256(json.dumps(_decoder(folder), sort_keys=True).encode())
    for name in (_FAST,) if (folder / _FAST).is_file() else _SLOW:
        content = _content(folder / name)
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.digest()


def may_reach(folder: Path, limit: int) -> bool:
    """Whether a token's id may be `limit` or more: never wrongly no, and far faster than parsing."""
    if any(int(token_id) >= limit for token_id in _decoder(folder)):
        return True
    for path in (folder / _FAST,) if (folder / _FAST).is_file() else [folder / name for name in _SLOW]:
        content = _content(path)
        if _LISTED.search(content):
            return True  # its ids are places in the list, which only parsing counts
        merges = _MERGES.search(content)
        if merges and _EARLIER.search(content, merges.end()):
            return True
        numbers = re.compile(rb'"\s*:\s*(\d{%d,})' % len(str(limit)))
        found = numbers.findall(content, 0, merges.start() if merges else len(content))
        if any(int(number) >= limit for number in found):
            return True
    return False


def read_vocabulary(folder: Path) -> Vocabulary:
    """Every token of a folder's tokenizer.

    Raises:
        UserError: There is none, it is broken, or it needs code from the folder.
    """
    if (folder / _FAST).is_file():
        return _with_decoder(_fast(folder / _FAST), folder)
    if (folder / _SLOW[0]).is_file():
        return _with_decoder(_slow(folder), folder)
    return _by_transformers(folder)


def _fast(path: Path) -> Vocabulary:
    content = read_json(path)
    try:
        vocab = content["model"]["vocab"]
        # a Unigram model lists (piece, score) in the order of the ids; the others map a token to its id
        ids = {piece: i for i, (piece, _) in enumerate(vocab)} if isinstance(vocab, list) else dict(vocab)
        added = {entry["content"]: entry for entry in content.get("added_tokens") or ()}
        ids |= {token: entry["id"] for token, entry in added.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: a tokenizer.json has model.vocab; this one has not ({error!r}); save it anew"
        ) from error
    return Vocabulary(ids, added)


def _slow(folder: Path) -> Vocabulary:
    ids: dict[str, int] = dict(read_json(folder / _SLOW[0]))
    more: dict[str, int] = read_json(folder / _SLOW[1]) if (folder / _SLOW[1]).is_file() else {}
    specials = _named_specials(folder)
    return Vocabulary(ids | more, {token: {"special": token in specials} for token in more})


def _with_decoder(vocabulary: Vocabulary, folder: Path) -> Vocabulary:
    """Adds what tokenizer_config.json alone knows; what stands in the tokenizer's own files keeps its id."""
    decoder = {entry["content"]: {**entry, "id": int(token_id)} for token_id, entry in _decoder(folder).items()}
    ids = {token: entry["id"] for token, entry in decoder.items()} | dict(vocabulary.ids)
    return Vocabulary(ids, {**vocabulary.added, **decoder})


def _by_transformers(folder: Path) -> Vocabulary:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UserError(
            f"{folder}: its tokens could not be read ({error}); save its tokenizer with transformers so that the "
            "folder has a tokenizer.json (code from model folders is never run)"
        ) from error
    fields = ("special", "lstrip", "rstrip", "normalized", "single_word")
    added = {
        entry.content: {name: getattr(entry, name) for name in fields}
        for entry in tokenizer.added_tokens_decoder.values()
    }
    return Vocabulary(dict(tokenizer.get_vocab()), added)


def _decoder(folder: Path) -> dict[str, Any]:
    path = folder / _CONFIG
    return dict(read_json(path).get("added_tokens_decoder") or {}) if path.is_file() else {}


def _named_specials(folder: Path) -> set[str]:
    path = folder / _SPECIALS
    found: set[str] = set()
    for value in read_json(path).values() if path.is_file() else ():
        for entry in value if isinstance(value, list) else [value]:
            found.add(entry["content"] if isinstance(entry, dict) else str(entry))
    return found


def _content(path: Path) -> bytes:
    """A file's bytes, none where it is not there."""
    try:
        return path.read_bytes() if path.is_file() else b""
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
