"""LiveBench's coding: what counts as the program, how its tests are unpacked, run and compared."""

import base64
import json
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path

import livebench_coding_cases as cases
import pytest

from bai_sweep.records import UserError
from bai_sweep.sandbox import Limits, Outcome, Sandbox, open_sandbox
from bai_sweep.scoring.livebench.coding import extract_code, score, solution


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    """Any level does: these programs are the tests' own."""
    return open_sandbox("process")


@pytest.mark.parametrize("name", cases.ANSWERS)
def test_an_answer_has_the_point_that_the_official_runner_gives(sandbox: Sandbox, name: str) -> None:
    question, answer, point = cases.ANSWERS[name]
    assert score(question, f"```python\n{answer}\n```", sandbox).value == point


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("Here:\n```python\na = 1\nb = 2\n```\nThat is it.", "a = 1\nb = 2"),
        ("```\nfirst\n```\nbetter:\n```python\nsecond\n```", "second"),
        ("```\nfirst\n```\nand ```this", "and ```this"[:0]),
        ("`x = 1`", "x = 1"),
        ("x = 1\n```\n", "x = 1"),
        ("```python\nx = 1", "```python\nx = 1"),
        ("  x = 1  \n", "  x = 1"),
        ("`", "`"),
        ("", ""),
    ],
)
def test_the_code_stands_between_the_last_two_fences(answer: str, code: str) -> None:
    assert extract_code(answer) == code


def test_a_beginning_is_put_before_code_that_leaves_it_out() -> None:
    question = cases.SUM | {"partial_solution": "def f(x):"}
    assert solution(question, "```python\n    return x\n```") == "def f(x):\n    return x"
    assert solution(question, "```python\ndef f(x):\n    return 2 * x\n```") == "def f(x):\n    return 2 * x"
    assert solution(question | {"partial_solution": None}, "```python\n    return x\n```") == "    return x"


def test_a_thought_is_no_part_of_the_answer() -> None:
    answer = "<think>\n```\nfirst\n```\n</think>\n```\nsecond\n```\n<think>```\nthird\n```</think>"
    assert solution(cases.SUM, answer) == "second"


def test_a_completion_is_run_behind_its_beginning(sandbox: Sandbox) -> None:
    question = cases.TWO_SUM | {"partial_solution": "class Solution:\n    def twoSum(self, nums, target):"}
    assert score(question, "```python\n        return [0, 1]\n```", sandbox).value == 1.0


def test_the_detail_says_which_test_failed_and_how(sandbox: Sandbox) -> None:
    item = score(cases.SUM, "```\nprint(3)\n```", sandbox)
    assert item.detail == {"code": "print(3)", "passed": 1, "tests": 3, "failure": "wrong: 3\n"}
    assert score(cases.SUM, "```\n1 / 0\n```", sandbox).detail["failure"] == "ZeroDivisionError: division by zero"
    ended = score(cases.SUM, "```\nimport os\nos._exit(0)\n```", sandbox)
    assert ended.detail["failure"] == "the run ended: ok"


def test_a_test_may_take_six_seconds(sandbox: Sandbox) -> None:
    item = score(cases.NUMBERS, "```\nwhile True:\n    pass\n```", sandbox)
    assert item.value == 0.0
    assert item.detail["failure"] == "TimeUpError: more than 6 s"


class _Recorder(Sandbox):
    """Takes what it is asked to run and answers with a fixed output."""

    def __init__(self, stdout: bytes) -> None:
        self.stdout = stdout

    def run(self, program: str, *, stdin: bytes = b"", limits: Limits = Limits()) -> Outcome:  # noqa: B008
        self.given, self.limits = program.encode() + stdin, limits
        return Outcome("ok", 0, self.stdout, b"", 0.1)


def test_what_is_expected_stays_outside_of_the_sandbox() -> None:
    sandbox = _Recorder(b'{"printed": "secret-71\\n"}\n')
    assert score(cases.question([("5", "secret-71")]), "print(71)", sandbox).value == 1.0
    assert b"print(71)" in sandbox.given
    assert b"secret" not in sandbox.given
    assert (sandbox.limits.seconds, sandbox.limits.cpu_seconds) == (12.0, 12.0)


@pytest.mark.parametrize(
    "output",
    [b"", b"[]\n", b"7\n", b"{", b'{"value": 3}\n', b'{"printed": 3}\n', b'\xff\n{"printed": "3"}\n', b"[" * 100_000],
)
def test_output_that_is_no_report_passes_nothing(output: bytes) -> None:
    assert score(cases.question([("1 2", "3")]), "print(3)", _Recorder(output)).value == 0.0


def test_a_report_of_fewer_tests_does_not_pass() -> None:
    assert score(cases.SUM, "", _Recorder(b'{"printed": "3"}\n{"printed": "6"}\n')).detail["passed"] == 2


def test_private_tests_may_stand_as_json() -> None:
    question = cases.SUM | {"private_test_cases": cases.rows([("", "4")], "stdin")}
    item = score(question, "", _Recorder(b'{"printed": "3"}\n{"printed": "4"}\n'))
    assert (item.value, item.detail["tests"]) == (1.0, 2)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_text_is_read_in_every_protocol(protocol: int) -> None:
    text = cases.rows([("", "ä\n€ \U0001f600"), ("x" * 300, "y")], "stdin")
    question = cases.question([])
    question["private_test_cases"] = base64.b64encode(zlib.compress(pickle.dumps(text, protocol))).decode()
    lines = b"".join(json.dumps({"printed": wanted}).encode() + b"\n" for wanted in ("ä\n€ \U0001f600", "y"))
    assert score(question, "", _Recorder(lines)).value == 1.0


class _Exploit:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("loaded"),)


@pytest.mark.parametrize(
    ("private", "reason"),
    [
        (cases.packed(_Exploit()), "hold one text; these have the opcode"),
        (cases.packed(["[]", "[]"]), "hold one text; these have the opcode EMPTY_LIST"),
        (cases.packed(b"[]"), "these have the opcode SHORT_BINBYTES"),
        (cases.packed(3), "these have the opcode BININT1"),
        (cases.packed("no json"), "cannot be read"),
        (base64.b64encode(b"no zlib").decode(), "cannot be read"),
        (base64.b64encode(zlib.compress(pickle.dumps("[]"))[:-6]).decode(), "end within"),
        ("no base64!", "cannot be read"),
        (cases.packed('[{"input": "1"}]'), "KeyError: 'output'"),
    ],
)
def test_tests_in_another_form_are_refused(
    private: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=reason):
        score(cases.SUM | {"private_test_cases": private}, "", _Recorder(b""))
    assert not (tmp_path / "loaded").exists()


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        (cases.question([]), "at least one test; question q1 has none"),
        ({"question_id": "q2"}, r"question q2 cannot be read \(KeyError: 'public_test_cases'\)"),
        (cases.SUM | {"original_json": {}}, "JSON in original_json.metadata"),
        (cases.question([("1", "no json")], function="f"), "a test of a function expects JSON; got 'no json'"),
    ],
)
def test_a_question_without_usable_tests_is_refused(question: dict[str, object], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        score(question, "", _Recorder(b'{"value": 1}\n'))


@pytest.mark.parametrize("task", ["LCB_generation", "coding_completion"])
def test_every_published_answer_that_passed_gives_a_program(task: str, shared_data: Callable[[str], Path]) -> None:
    """The published questions have no tests, so that only the extraction can be seen at work."""
    folder = shared_data(f"livebench/coding/{task}")
    with (folder / "model_judgment/ground_truth_judgment.jsonl").open() as file:
        passed = {row["question_id"] for row in map(json.loads, file) if row["score"] == 1}
    answers = {}
    for path in (folder / "model_answer").glob("*.jsonl"):
        with path.open() as file:
            answers |= {row["question_id"]: row["choices"][0]["turns"][0] for row in map(json.loads, file)}
    assert len(passed) == {"LCB_generation": 14, "coding_completion": 9}[task]
    for item in passed:
        code = extract_code(answers[item])
        assert "```" not in code
        if task == "LCB_generation":
            compile(code, item, "exec")
