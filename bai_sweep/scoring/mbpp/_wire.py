"""Plain data as JSON and back, keeping Python's types; runs on both sides of the sandbox, so standard library only.

Only values whose type is exactly a built-in one pass (and what `_LIKE_BUILTIN` names): an object of a class of its own
could claim to equal anything, and none gets out. Reading is strict, as what is read was written by a hostile program.
Small integers, strings, booleans and None stand for themselves; everything else is a list that begins with a tag.
"""

from __future__ import annotations

import collections
import hashlib
import json
import marshal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_SEQUENCES = {"l": list, "t": tuple, "S": set, "F": frozenset}
_LIKE_BUILTIN = (dict, collections.Counter, collections.defaultdict, collections.OrderedDict)  # equal as dicts
_SMALL = 1 << 53
_LARGE = 1 << 24  # bytes: Mbpp/255 has an expected output of a gigabyte
_NO_REFERENCES = 2  # format of marshal in which equal values are equal bytes (dictionaries: in equal order)
_NUMPY = ("bool", "bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float64")


class Scalar:
    """A numpy scalar's value: equal to the built-in number, of another type."""

    def __init__(self, value: Any) -> None:
        self.value = value


@dataclass(frozen=True)
class Digest:
    """Stands for a value that is too large to get out; equal ones stand for equal values of the same types."""

    sha256: str


def dumps(value: Any) -> str:
    """One line of JSON.

    Raises:
        TypeError: A value of another than a built-in type.
    """
    try:
        packed = marshal.dumps(value, _NO_REFERENCES)  # at the speed of C, unlike what follows
    except ValueError:
        packed = b""
    if len(packed) > _LARGE:
        return json.dumps(["#", hashlib.sha256(packed).hexdigest()])
    return json.dumps(_encode(value), separators=(",", ":"))


def loads(text: str | bytes) -> Any:
    """The value that `dumps` was given; a numpy scalar at the top as `Scalar`, deeper ones as built-in numbers.

    Raises:
        ValueError: Text that `dumps` does not write.
        TypeError: An unhashable member of a set or key.
        RecursionError: Nested too deeply.
    """
    wire = json.loads(text, parse_float=_refuse, parse_constant=_refuse)
    if isinstance(wire, list) and wire[:1] == ["n"] and len(wire) == 2:
        return Scalar(_decode(wire[1]))
    return _decode(wire)


def _refuse(text: str) -> Any:
    raise ValueError(f"numbers are integers here, got {text[:20]}")


def _same(value: Any) -> Any:
    return value


def _sequence(tag: str) -> Callable[[Any], Any]:
    return lambda value: [tag, *map(_encode, value)]


_ENCODERS: dict[type, Callable[[Any], Any]] = {
    type(None): _same,
    bool: _same,
    str: _same,
    int: lambda value: value if -_SMALL < value < _SMALL else ["i", hex(value)],
    float: lambda value: ["f", value.hex()],
    complex: lambda value: ["c", value.real.hex(), value.imag.hex()],
    bytes: lambda value: ["b", value.hex()],
    **{kind: _sequence(tag) for tag, kind in _SEQUENCES.items()},
    **dict.fromkeys(
        _LIKE_BUILTIN, lambda value: ["d", *([_encode(key), _encode(item)] for key, item in value.items())]
    ),
}
_DECODERS: dict[str, tuple[int, Callable[..., Any]]] = {  # number of texts, and what becomes of them
    "i": (1, lambda text: int(text, 16)),
    "f": (1, float.fromhex),
    "c": (2, lambda real, imag: complex(float.fromhex(real), float.fromhex(imag))),
    "b": (1, bytes.fromhex),
    "#": (1, Digest),
}


def _encode(value: Any) -> Any:
    kind = type(value)
    encode = _ENCODERS.get(kind)
    if encode is not None:
        return encode(value)
    if kind.__module__ == "numpy" and kind.__name__ in _NUMPY:
        return ["n", _encode(value.item())]
    raise TypeError(f"not plain data: {kind.__module__}.{kind.__qualname__}")


def _decode(wire: Any) -> Any:
    if type(wire) in (type(None), bool, int, str):
        return wire
    if not isinstance(wire, list) or not wire or not isinstance(wire[0], str):
        raise ValueError("neither a plain value nor a list that begins with a tag")
    tag, *items = wire
    if tag in _SEQUENCES:
        return _SEQUENCES[tag](map(_decode, items))
    if tag == "d":
        return {_decode(key): _decode(item) for key, item in items}
    if tag == "n" and len(items) == 1:
        return _decode(items[0])
    count, decode = _DECODERS.get(tag, (-1, _same))
    if len(items) != count or not all(isinstance(item, str) for item in items):
        raise ValueError(f"no such value: tag {tag[:20]!r} with {len(items)} items")
    return decode(*items)
