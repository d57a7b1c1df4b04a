r"""Arguments of `\frac` and `\sqrt`, with the braces that TeX lets writers leave out."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\\\\|\\(?:[A-Za-z]+|.)|.", re.DOTALL)
_DEEPEST = 40  # levels of nesting; what lies deeper stays as it is


def with_braces(text: str) -> str:
    r"""`\frac12` becomes `\frac{1}{2}`, `\frac9{19}` `\frac{9}{19}`, `\sqrt3` and `\sqrt(3)` `\sqrt{3}`.

    Args:
        text: LaTeX; text without these macros comes back unchanged.
    """
    if "\\frac" not in text and "\\sqrt" not in text:
        return text
    return _rewritten(_TOKEN.findall(text), 0)


def _rewritten(tokens: list[str], depth: int) -> str:
    if depth > _DEEPEST:
        return "".join(tokens)
    parts: list[str] = []
    rest = tokens[::-1]  # the next token is the last one
    while rest:
        parts.append(_next(rest, depth))
    return "".join(parts)


def _next(rest: list[str], depth: int) -> str:
    """Takes one token, with the arguments that belong to it, off the end of `rest`."""
    token = rest.pop()
    if token == "\\frac":
        return f"\\frac{_argument(rest, depth)}{_argument(rest, depth)}"
    if token == "\\sqrt":
        _skip_spaces(rest)
        index = f"[{_rewritten(_enclosed(rest, '[', ']'), depth + 1)}]" if rest and rest[-1] == "[" else ""
        _skip_spaces(rest)
        if rest and rest[-1] == "(":
            return f"\\sqrt{index}{{{_rewritten(_enclosed(rest, '(', ')'), depth + 1)}}}"
        return f"\\sqrt{index}{_argument(rest, depth)}"
    return token


def _argument(rest: list[str], depth: int) -> str:
    _skip_spaces(rest)
    if not rest:
        return ""
    if rest[-1] == "{":
        return f"{{{_rewritten(_enclosed(rest, '{', '}'), depth + 1).strip()}}}"
    if depth > _DEEPEST:
        return rest.pop()
    return f"{{{_next(rest, depth + 1)}}}"


def _enclosed(rest: list[str], opening: str, closing: str) -> list[str]:
    """Takes a bracketed run off the end of `rest`, without its brackets; an open one reaches to the end."""
    rest.pop()
    taken: list[str] = []
    depth = 1
    while rest:
        token = rest.pop()
        depth += (token == opening) - (token == closing)
        if depth == 0:
            break
        taken.append(token)
    return taken


def _skip_spaces(rest: list[str]) -> None:
    while rest and rest[-1].isspace():
        rest.pop()
