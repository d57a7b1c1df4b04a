"""Coding questions in LiveBench's form, made for the tests, and answers with the verdict its scorer gives them."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from collections.abc import Sequence
from typing import Any

Test = tuple[str, str]


def rows(tests: Sequence[Test], kind: str) -> str:
    return json.dumps([{"input": given, "output": wanted, "testtype": kind} for given, wanted in tests])


def packed(text: object) -> str:
    """As LiveCodeBench packs private tests."""
    return base64.b64encode(zlib.compress(pickle.dumps(text))).decode("ascii")


def question(public: Sequence[Test], private: Sequence[Test] = (), *, function: str | None = None) -> dict[str, Any]:
    kind = "stdin" if function is None else "functional"
    return {
        "question_id": "q1",
        "partial_solution": "",
        "public_test_cases": rows(public, kind),
        "private_test_cases": packed(rows(private, kind)),
        "original_json": {"metadata": json.dumps({"func_name": function} if function else {})},
    }


SUM = question([("1 2\n", "3\n")], [("10 -4\n", "6"), ("2\n3\n", "5")])
LINES = question([("2\na\nb\n", "a\nb\n")])
NUMBERS = question([("", "1.5 2\nyes\n")])
TWO_SUM = question([("[2, 7, 11]\n9", "[0, 1]")], [("[3, 3]\n6", "[0, 1]")], function="twoSum")
ANY = question([("0", "true")], function="f")
TABLE = question([("1", '{"a": [1.0, null]}')], function="f")

# By name: a question, an answer, and the point that the official runner gave it.
ANSWERS: dict[str, tuple[dict[str, Any], str, float]] = {
    "reads all of stdin": (SUM, "import sys\nprint(sum(map(int, sys.stdin.read().split())))", 1.0),
    "reads stdin by its imported name": (
        SUM,
        "from sys import stdin\nprint(sum(map(int, stdin.read().split())))",
        1.0,
    ),
    "reads lines by its imported name": (
        LINES,
        "from sys import stdin\nfor _ in range(int(stdin.readline())):\n    print(stdin.readline())",
        1.0,
    ),
    "iterates over its imported name, which is empty": (
        LINES,
        "from sys import stdin\nfor line in list(stdin)[1:]:\n    print(line)",
        0.0,
    ),
    "iterates over stdin": (LINES, "import sys\nfor line in list(sys.stdin)[1:]:\n    print(line.strip())", 1.0),
    "reads bytes, which the runner has not": (
        SUM,
        "import sys\nprint(sum(map(int, sys.stdin.buffer.read().split())))",
        0.0,
    ),
    "opens descriptor 0, which is empty": (SUM, "print(sum(map(int, open(0).read().split())))", 0.0),
    "input()": (LINES, "for _ in range(int(input())):\n    print(input())", 1.0),
    "input() past the end": (LINES, "while True:\n    print(input())", 0.0),
    "a main guard": (
        SUM,
        "import sys\ndef main():\n    print(sum(map(int, sys.stdin.read().split())))\n"
        'if __name__ == "__main__":\n    main()',
        1.0,
    ),
    "a main guard that is not last": (NUMBERS, 'if __name__ == "__main__":\n    print("1.5 2")\nprint("yes")', 0.0),
    "ends itself": (NUMBERS, 'print("1.5 2\\nyes")\nexit()\nprint("no")', 1.0),
    "ends itself by sys": (NUMBERS, 'import sys\nprint("1.5 2\\nyes")\nsys.exit(3)', 1.0),
    "quits, which is forbidden": (NUMBERS, 'print("1.5 2\\nyes")\nquit()', 0.0),
    "ends the process": (NUMBERS, 'import os\nprint("1.5 2\\nyes")\nos._exit(0)', 0.0),
    "names imported for it": (NUMBERS, 'print(sqrt(2.25), deque([2]).pop())\nprint("yes")', 1.0),
    "numbers written otherwise": (NUMBERS, 'print("1.50  2.0 ")\nprint(" yes")\nprint()', 1.0),
    "a number that is close": (NUMBERS, 'print("1.5000001 2")\nprint("yes")', 0.0),
    "a word written otherwise": (NUMBERS, 'print("1.5 2")\nprint("Yes")', 0.0),
    "a line too many": (NUMBERS, 'print("1.5 2")\nprint()\nprint("yes")', 0.0),
    "a line more at the end": (NUMBERS, 'print("1.5 2")\nprint("yes")\nprint("no")', 0.0),
    "a line less at the end": (NUMBERS, 'print("1.5 2")', 0.0),
    "a class outside of functional tests": (NUMBERS, 'class Solution:\n    pass\nprint("1.5 2\\nyes")', 0.0),
    "a module that is forbidden": (NUMBERS, 'import resource\nprint("1.5 2\\nyes")', 0.0),
    "no Python": (NUMBERS, "The answer is 1.5", 0.0),
    "nothing": (NUMBERS, "", 0.0),
    "an exception after the output": (NUMBERS, 'print("1.5 2\\nyes")\nraise ValueError', 0.0),
    "forgets its state": (
        SUM,
        "total = 0\nimport sys\ntotal += sum(map(int, sys.stdin.read().split()))\nprint(total)",
        1.0,
    ),
    "right in the public test only": (SUM, "print(3)", 0.0),
    "a method": (
        TWO_SUM,
        "class Solution:\n    def twoSum(self, nums: List[int], target: int) -> List[int]:\n"
        "        seen = {}\n        for i, x in enumerate(nums):\n            if target - x in seen:\n"
        "                return [seen[target - x], i]\n            seen[x] = i",
        1.0,
    ),
    "a tuple for a list": (TWO_SUM, "def twoSum(nums, target):\n    return (0, 1)", 1.0),
    "a method that is missing": (
        TWO_SUM,
        "class Solution:\n    def two_sum(self, nums, target):\n        return [0, 1]",
        0.0,
    ),
    "one object for all tests": (
        TWO_SUM,
        "class Solution:\n    calls = 0\n    def twoSum(self, nums, target):\n        self.calls += 1\n"
        "        return [0, self.calls]",
        0.0,
    ),
    "prints beside its result": (ANY, "def f(x):\n    print('x' * 99)\n    return True", 1.0),
    "one for true": (ANY, "def f(x):\n    return 1", 1.0),
    "a numpy scalar for true": (ANY, "import numpy\ndef f(x):\n    return numpy.bool_(True)", 1.0),
    "a text for true": (ANY, "def f(x):\n    return 'true'", 0.0),
    "exits in a function": (ANY, "def f(x):\n    raise SystemExit", 0.0),
    "a table": (TABLE, "def f(x):\n    return defaultdict(list, a=[1, None])", 1.0),
    "a tuple inside": (TABLE, "def f(x):\n    return {'a': (1.0, None)}", 0.0),
    "a float that is close": (TABLE, "def f(x):\n    return {'a': [1.0 + 1e-12, None]}", 0.0),
    "nothing returned": (TABLE, "def f(x):\n    pass", 0.0),
}
