"""The code in a response, by the rules of evalplus's `sanitize` (evalplus/sanitize.py), with `ast` for tree-sitter.

First the longest run of lines that parses. Of it, imports, and those functions, classes and assignments that the
entry point needs, each name's first definition. Whatever else stands at the top level is dropped: tests, printing,
decorated functions and functions without `return` too. Where nothing remains, the run of lines is the code.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator

_ANSI = re.compile(r"\x1B(?:[@-Z\\-_]|\[[0-?]*[ -/]*[@-~])")  # terminal colours
_Definition = tuple[str | None, ast.stmt]


def extract_code(response: str, entry_point: str) -> str:
    """The program to test; text that does not parse where the response holds none.

    Call it in the main thread: it silences the warnings of the parser, which is a setting of the process.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = longest_parsing_lines(response)
        try:
            body = ast.parse(code).body
        except _UNPARSABLE:
            return code
    return _needed(code, body, entry_point).strip() or code


_UNPARSABLE = (SyntaxError, ValueError, MemoryError, RecursionError)


def longest_parsing_lines(text: str) -> str:
    """The run of lines that parses and has the most that are not blank, the first of several; needs two lines.

    Trying all runs takes seconds for a long response. A parser reads from the left: where a run fails in one of its
    lines, every shorter run that still has this line fails as well.
    """
    lines = _ANSI.sub("", text).split("\n")
    blank = [not line.strip() for line in lines]
    best, first, last = 0, 0, 0
    for start in range(len(lines)):
        end = len(lines) - 1
        while end > start and (count := end + 1 - start - sum(blank[start : end + 1])) > best:
            failed = _failing_line("\n".join(lines[start : end + 1]))
            if failed is None:
                best, first, last = count, start, end
                break
            end = min(end, start + failed - 1) - 1
    return "\n".join(lines[first : last + 1])


def _failing_line(code: str) -> int | None:
    """Counted from 1; None where the code parses."""
    try:
        ast.parse(code)
    except SyntaxError as error:
        return max(error.lineno or 1, 1)
    except _UNPARSABLE:
        return code.count("\n") + 1
    return None


def _needed(code: str, body: list[ast.stmt], entry_point: str) -> str:
    imports = [node for node in body if _is_import(node)]
    definitions = list(_definitions(body))
    reached = _reached(entry_point, definitions)
    nodes = imports + [node for name, node in definitions if name in reached]
    return "\n".join(ast.get_source_segment(code, node) or "" for node in nodes)


def _is_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and node.module != "__future__")


def _definitions(body: list[ast.stmt]) -> Iterator[_Definition]:
    """Each name's first, in order."""
    seen: set[str | None] = set()
    for node in body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            name = _assigned(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.decorator_list:
            name = node.name
        else:
            continue
        returns = isinstance(node, ast.Assign | ast.AnnAssign | ast.ClassDef) or any(
            isinstance(inner, ast.Return) for inner in ast.walk(node)
        )
        if name not in seen and returns:
            seen.add(name)
            yield name, node


def _assigned(node: ast.Assign | ast.AnnAssign) -> str | None:
    """The first bare name of an assignment: its target, or of `a.b = c` the value."""
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    for part in (target, node.value):
        if isinstance(part, ast.Name):
            return part.id
    return None


def _reached(entry_point: str, definitions: list[_Definition]) -> set[str]:
    mentioned = {name: _identifiers(node) for name, node in definitions}
    reached, open_ = {entry_point}, [entry_point]
    while open_:
        new = mentioned.get(open_.pop(), set()) - reached
        reached |= new
        open_ += new
    return reached


def _identifiers(node: ast.stmt) -> set[str]:
    """Every identifier within: variables, attributes, parameters, keywords, imported modules."""
    found: set[str] = set()
    for inner in ast.walk(node):
        for _, value in ast.iter_fields(inner):
            if isinstance(value, str) and not isinstance(inner, ast.Constant):
                found.update(value.split("."))
            elif isinstance(value, list):
                found.update(item for item in value if isinstance(item, str))  # global, nonlocal
    return found
