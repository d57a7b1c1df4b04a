"""A question's tests: the public ones as JSON, the private ones as JSON or packed.

LiveCodeBench packs them: JSON in a pickled str, zlib, base64. A pickle can run any code when it is loaded, so this one
is never loaded: its opcodes are read, and it may hold a text and nothing else.
"""

from __future__ import annotations

import base64
import json
import pickletools
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bai_sweep.records import UserError

MOST_BYTES = 1 << 29  # of unpacked tests; the packed ones of one question have a few MB
_TEXTS = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_HARMLESS = {"PROTO", "FRAME", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "STOP"}


@dataclass(frozen=True)
class Case:
    """One test: what the program is given (stdin, or one JSON argument a line), and what it must print or return."""

    given: str
    expected: str


def cases_of(question: Mapping[str, Any]) -> list[Case]:
    """All tests of a question, the public ones first.

    Raises:
        UserError: There is none, or they are not in the official form.
    """
    try:
        rows = json.loads(question["public_test_cases"]) + _private(question["private_test_cases"])
        cases = [Case(row["input"], row["output"]) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"a coding question has public_test_cases and private_test_cases in LiveBench's form; those of question "
            f"{question.get('question_id')} cannot be read ({type(error).__name__}: {error}); take the row from "
            "livebench/coding"
        ) from error
    if not cases:
        raise UserError(f"a coding question has at least one test; question {question.get('question_id')} has none")
    return cases


def function_of(question: Mapping[str, Any]) -> str | None:
    """The function or method that the tests call; None: the program reads stdin and prints.

    Raises:
        UserError: The question's metadata cannot be read.
    """
    try:
        name: str | None = json.loads(question["original_json"]["metadata"]).get("func_name")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"a coding question has JSON in original_json.metadata; that of question {question.get('question_id')} "
            f"cannot be read ({type(error).__name__}: {error}); take the row from livebench/coding"
        ) from error
    return name


def _private(text: str) -> list[Any]:
    try:
        rows: list[Any] = json.loads(text)
    except ValueError:
        rows = json.loads(_pickled_text(_inflated(base64.b64decode(text))))
    return rows


def _inflated(packed: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(packed, MOST_BYTES)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not unpacker.eof:
        raise ValueError(f"packed tests end within {MOST_BYTES} bytes; these do not")
    return data


def _pickled_text(data: bytes) -> str:
    """The str that a pickle holds, read without loading it.

    Raises:
        ValueError: The pickle does anything but hold one text.
    """
    texts: list[str] = []
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in _TEXTS:
            texts.append(str(argument))
        elif opcode.name not in _HARMLESS:
            raise ValueError(f"packed tests hold one text; these have the opcode {opcode.name}")
    if len(texts) != 1:
        raise ValueError(f"packed tests hold one text; these hold {len(texts)}")
    return texts[0]
