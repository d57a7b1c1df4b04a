r"""The outer form of an answer: list, set, tuple, interval, union, matrix, equation, inequality, or one expression."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bai_sweep.scoring.mathematics._numbers import rational

_TOKEN = re.compile(r"\\\\|\\(?:[A-Za-z]+|.)|.", re.DOTALL)
_OPENING, _CLOSING = {"(", "[", "{", r"\{", r"\begin", r"\langle"}, {")", "]", "}", r"\}", r"\end", r"\rangle"}
_MATRIX = re.compile(r"\\begin\{([pb]|small)?matrix\}(.*)\\end\{(?:[pb]|small)?matrix\}", re.DOTALL)
_ARRAY = re.compile(r"([(\[])\\begin\{array\}\{[lcr|]*\}(.*)\\end\{array\}([)\]])", re.DOTALL)
_NAME = r"\\?[A-Za-z]+(?:_(?:\w|\{\w+\}))?'*"
_NAMED = re.compile(rf"(?:{_NAME}(?:\([^()=]*\))?|\({_NAME}(?:,{_NAME})*\))")
_SUBSCRIPTS_AND_CALLS = re.compile(r"_(?:\w|\{[^{}]*\})|(?<=[A-Za-z])\([^()]*\)")
_RELATIONS = ("<", ">", r"\le", r"\ge")
_DEEPEST = 12


@dataclass(frozen=True)
class Expression:
    """One expression, as normalised LaTeX."""

    text: str


@dataclass(frozen=True)
class Collection:
    r"""Several answers in one.

    Args:
        kind: `list` (bare), `{}`, `()`, `[]`, `(]`, `[)`, `union`, or `matrix` with its shape.
        items: In the order written.
    """

    kind: str
    items: tuple[Answer, ...]


@dataclass(frozen=True)
class Equation:
    r"""`x = 5`, `x \in [0, 1]`.

    Args:
        text: All of it.
        left: What stands before the first sign.
        value: What stands behind the last one.
    """

    text: str
    left: str
    value: Answer

    @property
    def names_its_value(self) -> bool:
        """Whether the left side is a name (`x`, `f(x)`, `(a,b)`), so that the value alone answers the question."""
        return _NAMED.fullmatch(self.left) is not None

    @property
    def states_a_value(self) -> bool:
        r"""Whether the value is what is claimed (`m+n = 204`, `2+3 = 5`) and not something to solve (`2x = 10`)."""
        left = _SUBSCRIPTS_AND_CALLS.sub("", self.left)
        return self.names_its_value or not (re.search(r"\d", left) and re.search(r"[A-Za-z]", left))


Answer = Expression | Collection | Equation


def structure(text: str, depth: int = 0) -> Answer:
    """Reads a normalised answer; what it has no form for is an expression."""
    if depth > _DEEPEST or rational(text) is not None:
        return Expression(text)
    if len(parts := split(text, {",", ";"})) > 1:
        unions = all(_interval(part, depth) for part in parts)
        return Collection("union" if unions else "list", tuple(_flat(structure(part, depth + 1) for part in parts)))
    for form in (_equation, _union, _interval, _matrix, _group, _plus_minus):
        if (found := form(text, depth)) is not None:
            return found
    return Collection("{}", ()) if text == r"\emptyset" else Expression(text)


def split(text: str, marks: set[str]) -> list[str]:
    """Cuts a text at these tokens where no bracket is open."""
    parts, depth = [""], 0
    for token in _TOKEN.findall(text):
        depth += (token in _OPENING) - (token in _CLOSING)
        if depth == 0 and token in marks:
            parts.append("")
        else:
            parts[-1] += token
    return [part.strip() for part in parts]


def balanced(text: str) -> bool:
    """Whether every bracket that opens closes, at most 30 deep; which kind closes which is left to the parser."""
    depth = deepest = 0
    for token in _TOKEN.findall(text):
        depth += (token in _OPENING) - (token in _CLOSING)
        deepest = max(deepest, depth)
        if depth < 0:
            return False
    return depth == 0 and deepest <= 30


def _flat(items: Iterator[Answer]) -> Iterator[Answer]:
    r"""A list within a list (`2, \pm 1`) is one list."""
    for item in items:
        if isinstance(item, Collection) and item.kind == "list":
            yield from item.items
        else:
            yield item


def _equation(text: str, depth: int) -> Answer | None:
    exact, *approximate = split(text, {r"\approx"})
    if approximate and re.search(r"\d", exact):
        return structure(exact, depth + 1)  # 1/3, and what it is about
    sides = split(text, {"=", r"\in", r"\approx"})
    if len(sides) < 2 or not all(sides):
        return None
    return Equation(text, sides[0], structure(sides[-1], depth + 1))


def _union(text: str, depth: int) -> Answer | None:
    parts = split(text, {r"\cup"})
    return Collection("union", tuple(structure(part, depth + 1) for part in parts)) if len(parts) > 1 else None


def _interval(text: str, depth: int) -> Answer | None:
    r"""`-2 < x \le 7` is the interval that x lies in."""
    signs = [token for token in _TOKEN.findall(text) if token in _RELATIONS]
    sides = split(text, set(_RELATIONS))
    if len(sides) != len(signs) + 1 or len(sides) not in (2, 3) or not all(sides):
        return None
    if len(sides) == 2:
        named = _NAMED.fullmatch(sides[0]) is not None
        if named == (_NAMED.fullmatch(sides[1]) is not None):
            return None
        sides, signs = ([r"", *sides], ["", *signs]) if named else ([*sides, ""], [*signs, ""])
    low, name, high = sides
    upward = {sign[-1] in "<e" and sign != r"\ge" for sign in signs if sign}
    if len(upward) != 1 or _NAMED.fullmatch(name) is None:
        return None
    if upward == {False}:
        low, high, signs = high, low, signs[::-1]
    kind = f"{'[' if 'e' in signs[0] else '('}{']' if 'e' in signs[1] else ')'}"
    ends = (low or r"-\infty", high or r"\infty")
    return Collection(kind, tuple(structure(end, depth + 1) for end in ends))


def _matrix(text: str, depth: int) -> Answer | None:
    if match := _MATRIX.fullmatch(text) or _ARRAY.fullmatch(text):
        rows = [row for row in split(match[2], {"\\\\"}) if row]
        cells = [split(row, {"&"}) for row in rows]
        if len({len(row) for row in cells}) == 1:
            items = tuple(structure(cell, depth + 1) for row in cells for cell in row)
            return Collection(f"matrix {len(cells)}x{len(cells[0])}", items)
    return None


def _group(text: str, depth: int) -> Answer | None:
    """Brackets around the whole; around one expression they mean nothing."""
    tokens = _TOKEN.findall(text)
    if len(tokens) < 2 or (tokens[0], tokens[-1]) not in {(a, b) for a in "([" for b in ")]"} | {(r"\{", r"\}")}:
        return None
    level = 0
    for number, token in enumerate(tokens):
        level += (token in _OPENING) - (token in _CLOSING)
        if level == 0 and number < len(tokens) - 1:
            return None  # (1)(2)
    inner, kind = "".join(tokens[1:-1]).strip(), (tokens[0] + tokens[-1]).replace("\\", "")
    parts = split(inner, {",", ";"}) if inner else []
    if len(parts) == 1:
        return structure(inner, depth + 1) if kind in ("()", "[]", "{}") else None
    items = (structure(part, depth + 1) for part in parts)
    return Collection(kind, tuple(_flat(items) if kind == "{}" else items))


def _plus_minus(text: str, depth: int) -> Answer | None:
    if text.count(r"\pm") != 1:
        return None
    before, after = (part.strip() for part in text.split(r"\pm"))
    plus = f"{before}+{after}" if before and before[-1] not in "({" else f"{before}{after}"
    return Collection("list", tuple(structure(each, depth + 1) for each in (plus, f"{before}-{after}")))
