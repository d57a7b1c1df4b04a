"""The tokens of a union vocabulary, put into the tokenizer that travels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bai_sweep.merging.output._settings import read_json, write_json
from bai_sweep.records import UserError

if TYPE_CHECKING:
    from bai_sweep.merging.vocabulary import AddedToken


def add_tokens(folder: Path, added: Sequence[AddedToken]) -> None:
    """Adds tokens to the tokenizer in `folder`, each under its id.

    The files are amended in place: a tokenizer that is loaded and saved comes out in the form of the version that
    saved it, which other versions and other programs may not read. Only one without tokenizer.json is loaded.

    Raises:
        UserError: The tokenizer gives a token another id.
    """
    tokens = sorted(added, key=lambda token: token.id)
    if (folder / "tokenizer.json").is_file():
        _amend(folder, tokens)
    else:
        _load_and_save(folder, tokens)
    _require_ids(folder, tokens)


def _amend(folder: Path, tokens: Sequence[AddedToken]) -> None:
    entries = [{"id": token.id, **_settings(token)} for token in tokens]
    tokenizer = read_json(folder / "tokenizer.json")
    tokenizer["added_tokens"] = [*tokenizer.get("added_tokens", []), *entries]
    write_json(folder / "tokenizer.json", tokenizer)
    if "added_tokens_decoder" in (settings := read_json(folder / "tokenizer_config.json")):
        for token in tokens:
            settings["added_tokens_decoder"][str(token.id)] = _settings(token)
        write_json(folder / "tokenizer_config.json", settings)
    if (folder / "added_tokens.json").is_file():
        known = read_json(folder / "added_tokens.json") | {token.token: token.id for token in tokens}
        write_json(folder / "added_tokens.json", known)


def _settings(token: AddedToken) -> dict[str, Any]:
    return {
        "content": token.token,
        "single_word": token.single_word,
        "lstrip": token.lstrip,
        "rstrip": token.rstrip,
        "normalized": token.normalized,
        "special": token.special,
    }


def _load_and_save(folder: Path, tokens: Sequence[AddedToken]) -> None:
    from transformers import AddedToken as Addition
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    for token in tokens:
        tokenizer.add_tokens(Addition(**_settings(token)), special_tokens=token.special)
    tokenizer.save_pretrained(folder)


def _require_ids(folder: Path, tokens: Sequence[AddedToken]) -> None:
    from tokenizers import Tokenizer

    if not (folder / "tokenizer.json").is_file():
        return
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    wrong = [
        f"{t.token!r}: {tokenizer.token_to_id(t.token)}, planned {t.id}"
        for t in tokens
        if tokenizer.token_to_id(t.token) != t.id
    ]
    if wrong:
        raise UserError(
            f"the tokenizer gives added tokens other ids than their rows: {'; '.join(wrong[:5])}; "
            "merge with vocabulary=tokenizer, or name another model as tokenizer"
        )
