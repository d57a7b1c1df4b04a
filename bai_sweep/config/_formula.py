"""Arithmetic that a user writes: `mmlu - 0.5 * final_kl`, read with `ast` and nothing executed."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# A metric's path is one name unless it is in quotes already: `eval/mmlu` is no division.
_PATHS = re.compile(r"""("[^"]*"|'[^']*')|\b((?:eval|objective|stability)(?:/[A-Za-z_]\w*)+)""")
_LONGEST = 400
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_FUNCTIONS: dict[str, tuple[Callable[..., Any], int]] = {  # with the number of arguments; 0: two or more
    "abs": (np.abs, 1),
    "sqrt": (np.sqrt, 1),
    "log": (np.log, 1),
    "exp": (np.exp, 1),
    "min": (lambda *values: _reduced(np.minimum, values), 0),
    "max": (lambda *values: _reduced(np.maximum, values), 0),
}


@dataclass(frozen=True)
class Formula:
    """An expression over named quantities.

    Numbers, `+ - * / **`, parentheses and `abs sqrt log exp min max`. A name that is no identifier is put in quotes
    (`"mixeval-hard"`); metrics' paths (`eval/overall`) need none.

    Raises:
        ValueError: the text is something else; says what.
    """

    text: str

    def __post_init__(self) -> None:
        _check(self._tree())

    @property
    def names(self) -> tuple[str, ...]:
        """What it depends on, in the order of first use."""
        nodes = [node for node in ast.walk(self._tree()) if isinstance(node, ast.expr)]
        found = [(node.lineno, node.col_offset, _name(node)) for node in nodes if _name(node)]
        return tuple(dict.fromkeys(name for _, _, name in sorted(found) if name not in _FUNCTIONS))

    def __call__(self, values: Mapping[str, Floats | float]) -> Floats:
        """Its value where the names have these; arrays broadcast. NaN or infinite where it is not defined.

        Raises:
            KeyError: a name without a value.
        """
        with np.errstate(all="ignore"):
            return np.asarray(_value(self._tree(), values), dtype=np.float64)

    def _tree(self) -> ast.expr:
        if len(self.text) > _LONGEST:
            raise ValueError(f"an expression has at most {_LONGEST} characters; got {len(self.text)}")
        quoted = _PATHS.sub(lambda match: match[1] or repr(match[2]), self.text.strip())
        try:
            return ast.parse(quoted, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise ValueError(f"not an arithmetic expression: {self.text!r}") from None


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _is_number(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def _check(node: ast.expr) -> None:
    if _name(node) in _FUNCTIONS:
        raise ValueError(f"{_name(node)} is a function: {_name(node)}(...)")
    if _name(node) or _is_number(node):
        return
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        _check(node.left)
        _check(node.right)
    elif isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
        _check(node.operand)
    elif isinstance(node, ast.Call) and not node.keywords and _name(node.func) in _FUNCTIONS:
        wanted = _FUNCTIONS[_name(node.func)][1]
        if (wanted and len(node.args) != wanted) or len(node.args) < (wanted or 2):
            raise ValueError(f"{_name(node.func)} takes {wanted or 'two or more'} arguments; got {len(node.args)}")
        for argument in node.args:
            _check(argument)
    else:
        raise ValueError(
            f"an expression has numbers, names, + - * / ** and {', '.join(_FUNCTIONS)}; got {ast.unparse(node)!r}"
        )


def _value(node: ast.AST, values: Mapping[str, Floats | float]) -> Any:
    if isinstance(node, ast.BinOp):
        return _BINARY[type(node.op)](_value(node.left, values), _value(node.right, values))
    if isinstance(node, ast.UnaryOp):
        return _UNARY[type(node.op)](_value(node.operand, values))
    if isinstance(node, ast.Call):
        return _FUNCTIONS[_name(node.func)][0](*(_value(argument, values) for argument in node.args))
    if name := _name(node):
        return np.asarray(values[name], dtype=np.float64)
    return np.float64(node.value)  # type: ignore[attr-defined]  # _check left nothing but numbers


def _reduced(function: Callable[[Any, Any], Any], values: tuple[Any, ...]) -> Any:
    first, *others = values
    for other in others:
        first = function(first, other)
    return first
