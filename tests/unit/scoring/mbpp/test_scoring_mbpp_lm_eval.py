"""evaluators/mbpp_plus as lm-eval uses it: rows, message, metrics from one run."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from bai_sweep.sandbox import Sandbox
from bai_sweep.scoring import Resources, resolved, using
from bai_sweep.scoring.mbpp import Task, prompt

FOLDER = Path(__file__).resolve().parents[4] / "evaluators" / "mbpp_plus"
RIGHT = "def square(x):\n    return x * x if x <= 10 else x + x"


@pytest.fixture(scope="module")
def utils() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mbpp_plus_utils", FOLDER / "utils.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_lm_eval_rows_go_through_arrow_unchanged(
    utils: ModuleType, square: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    import bai_sweep.evaluation.data

    row = {
        "task_id": "Mbpp/124",
        "prompt": '"""\nText.\n"""',
        "entry_point": "angle_complex",
        "canonical_solution": "def angle_complex(a, b):\n    return a",
        "base_input": [["0", "1j"], ["2", "1j"]],
        "plus_input": [[1, [2.5, "x"], {"k": None}]],
        "atol": 0,
        "contract": "",
        "assertion": "",
    }
    monkeypatch.setattr(bai_sweep.evaluation.data, "load", lambda name, folder: {"test": [row]})
    (doc,) = utils.dataset(data_dir="anywhere")["test"]
    assert doc["id"] == "Mbpp/124"
    assert doc["message"] == prompt(row["prompt"])
    assert Task.of(doc) == Task.of(row)
    assert Task.of(doc).base == ((0.0, 1j), (2.0, 1j))


def test_lm_eval_one_run_gives_both_metrics(
    utils: ModuleType, square: Task, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    doc = utils._doc(square)
    runs: list[str] = []
    original = Sandbox.run
    monkeypatch.setattr(Sandbox, "run", lambda self, *a, **k: runs.append("run") or original(self, *a, **k))
    with using(Resources(isolation=sandbox.level)):
        answers = [f"```python\n{RIGHT}\n```", "```python\ndef square(x):\n    return x * x\n```", "I do not know."]
        results = [utils.process_results(doc, [answer]) for answer in answers]
        plus = [result["pass_at_1"] for result in results]
        base = [result["base_pass_at_1"] for result in results]
        assert [resolved(value).value for value in plus] == [1.0, 0.0, 0.0]
        assert [resolved(value).value for value in base] == [1.0, 1.0, 0.0]
        assert utils.mean(plus) == pytest.approx(1 / 3)
        assert utils.mean(base) == pytest.approx(2 / 3)
    assert len(runs) - 1 <= len(answers)  # one a response; the expected outputs at most once


def test_lm_eval_task_names_metrics_and_aggregation(utils: ModuleType, square: Task) -> None:
    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: getattr(utils, node.value.split(".")[1]))
    task = yaml.load((FOLDER / "mbpp_plus.yaml").read_text(), Loader)
    assert task["task"] == "mbpp_plus"
    assert [metric["metric"] for metric in task["metric_list"]] == ["pass_at_1", "base_pass_at_1"]
    assert all(metric["aggregation"] is utils.mean for metric in task["metric_list"])
    assert task["process_results"] is utils.process_results
    assert {task["doc_to_text"], task["doc_to_target"]} <= set(utils._doc(square))
