"""Keeps secrets out of everything that is logged: by a key's words, by credentials in URIs, by well-known shapes."""

from __future__ import annotations

import re
from typing import Any

MASK = "***"

_ALWAYS = {"password", "passwd", "passphrase", "pwd", "secret", "secrets", "credential", "credentials"}
_ALWAYS |= {"apikey", "authorization", "bearer"}
_TEXT_ONLY = {"token", "key", "keys", "auth"}  # as numbers these are ordinary settings (reward per token)
# `eos_token` and the like are tokenizer settings, not secrets.
_VOCABULARY = {"eos", "bos", "pad", "unk", "sep", "cls", "mask", "stop", "start", "end", "special", "per", "chat"}

# Every repetition is bounded or cannot start in mid-word, so that a megabyte of diff takes no more than its length.
_SPLIT = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])")
_CREDENTIALS_IN_URI = re.compile(r"(?P<scheme>(?<![\w+.-])[a-zA-Z][\w+.-]{0,30}://)[^/\s'\"]{1,500}@")
_QUERY = re.compile(
    r"(?P<name>[?&;](?:[\w-]{0,40}(?:token|secret|password|signature|credential|api_?key|access_?key)[\w-]{0,20}|sig|key)=)[^&\s'\"]+",
    re.IGNORECASE,
)
_WORDS = "password|passwd|passphrase|pwd|secret|credential|token|key|auth|bearer"
_ASSIGNMENT = re.compile(
    # `password=x`, `"api_key": "x"`, and for options on a command line also `--token x`
    rf"(?P<key>(?<![\w.-])(?P<dash>--?)?[\w.-]{{0,60}}?(?:{_WORDS})\w{{0,20}})"
    r"(?P<sep>['\"]?\s{0,3}[=:]\s{0,3}['\"]?|(?(dash)\s+|(?!)))(?P<value>[^\s'\",;&]+)",
    re.IGNORECASE,
)
_SHAPES = re.compile(
    r"\b(hf_[A-Za-z0-9]{20,}|sk-[\w-]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|AKIA[0-9A-Z]{16}|"
    r"xox[abprs]-[\w-]{10,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,})|(?<=[Bb]earer )\S+"
)


def names_secret(key: str, value: Any = "") -> bool:
    """Whether the last word of a dotted key says that its value is a secret."""
    words = [word.lower() for word in _SPLIT.split(key.rsplit(".", 1)[-1]) if word]
    if _ALWAYS.intersection(words):
        return True
    if not words or words[-1] not in _TEXT_ONLY or not isinstance(value, str):
        return False
    return not _VOCABULARY.intersection(words[:-1])


def masked(key: str, value: Any) -> Any:
    """The value, or `***` when the key names a secret; credentials inside texts are replaced in any case."""
    if value is None or isinstance(value, bool) or value == "":
        return value
    if names_secret(key, value):
        return MASK
    return mask_text(value) if isinstance(value, str) else value


def mask_text(text: str) -> str:
    """A text without credentials in URIs, secret query parameters, `password=...` and tokens of well-known shape."""
    text = _CREDENTIALS_IN_URI.sub(rf"\g<scheme>{MASK}@", text)
    text = _QUERY.sub(rf"\g<name>{MASK}", text)
    text = _ASSIGNMENT.sub(_mask_assignment, text)
    return _SHAPES.sub(MASK, text)


def _mask_assignment(match: re.Match[str]) -> str:
    return f"{match['key']}{match['sep']}{MASK}" if names_secret(match["key"]) else match[0]
