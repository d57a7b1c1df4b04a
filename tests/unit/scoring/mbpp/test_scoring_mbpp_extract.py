"""The code in a response."""

from __future__ import annotations

import ast
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bai_sweep.scoring.mbpp import extract_code
from bai_sweep.scoring.mbpp._extract import longest_parsing_lines

PLAIN = "def f(x):\n    return x + 1"


@pytest.mark.parametrize(
    "response",
    [
        PLAIN,
        f"```python\n{PLAIN}\n```",
        f"Sure! Here is the solution:\n\n```python\n{PLAIN}\n```\n\nIt adds one, doesn't it?",
        f"```\n{PLAIN}\n```",
        f"```python\n{PLAIN}\n",  # cut off before the end of the block
        f"```python\n{PLAIN}\n\nprint(f(1))\nassert f(1) == 2\n```",
        f"```python\n{PLAIN}\n\nif __name__ == '__main__':\n    f(3)\n```",
        f"\x1b[32m{PLAIN}\x1b[0m",
    ],
)
def test_extract_function_from_its_surroundings(response: str) -> None:
    assert extract_code(response, "f") == PLAIN


def test_extract_what_the_function_needs() -> None:
    code = (
        "from __future__ import annotations\nimport math\nLIMIT = 3\nUNUSED = 4\n"
        "def helper(x):\n    return math.sqrt(x) + LIMIT\n"
        "def other(x):\n    return x\n"
        "class Box:\n    size = 2\n"
        "def f(x):\n    return helper(x) + Box.size\n"
    )
    kept = extract_code(code, "f")
    assert kept == (
        "import math\nLIMIT = 3\ndef helper(x):\n    return math.sqrt(x) + LIMIT\n"
        "class Box:\n    size = 2\ndef f(x):\n    return helper(x) + Box.size"
    )


def test_extract_first_definition_of_a_name_and_none_without_return() -> None:
    code = "def f(x):\n    return 1\ndef f(x):\n    return 2\ndef g():\n    pass\n"
    assert extract_code(code, "f") == "def f(x):\n    return 1"


def test_extract_decorated_functions_are_dropped_unless_nothing_else_is_there() -> None:
    decorated = "import functools\n@functools.cache\ndef g(x):\n    return x\n"
    assert extract_code(f"{decorated}{PLAIN}", "f") == f"import functools\n{PLAIN}"
    alone = "@staticmethod\ndef f(x):\n    return x"
    assert extract_code(alone, "f") == alone


def test_extract_longer_of_two_blocks() -> None:
    longer = "def f(x):\n    y = x\n    return y"
    assert extract_code(f"Try\n```\n{PLAIN}\n```\nor better this one\n```\n{longer}\n```\n", "f") == longer


@pytest.mark.parametrize("response", ["", "I cannot help with that.", "def f(x:\n    return (", "\x00\n\x00"])
def test_extract_without_code_gives_text_that_defines_nothing(response: str) -> None:
    code = extract_code(response, "f")
    assert "def f" not in code or not _parses(code)


def test_extract_does_not_warn_of_what_it_reads() -> None:
    code = 'def f(x):\n    return "\\d" + x'
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert extract_code(code, "f") == code


def _parses(code: str) -> bool:
    try:
        ast.parse(code)
    except (SyntaxError, ValueError):
        return False
    return True


def _by_trying_all(text: str) -> str:
    """evalplus's definition, read literally."""
    lines, best, pair = text.split("\n"), 0, (0, 0)
    for start in range(len(lines)):
        for end in range(start + 1, len(lines)):
            chosen = lines[start : end + 1]
            size = sum(1 for line in chosen if line.strip())
            if size > best and _parses("\n".join(chosen)):
                best, pair = size, (start, end)
    return "\n".join(lines[pair[0] : pair[1] + 1])


_LINES = st.sampled_from(
    [
        "", "x = 1", "def f(x):", "    return x", "  y = 2", "Here is code:", "```", "'''", '"""text', "z = (1,", "2)",
        "if x:", "else:", "\\", "word", "a = '''b", "try:", "except E:", "    pass", "it's", "]", "# note",
    ]
)  # fmt: skip


@given(st.lists(_LINES, max_size=9).map("\n".join))
@settings(max_examples=300, deadline=None)
def test_extract_longest_run_is_that_of_trying_all(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert longest_parsing_lines(text).strip() == _by_trying_all(text).strip()
