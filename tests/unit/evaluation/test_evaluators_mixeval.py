"""lm-eval loads the tasks of mixeval_hard from local files, and scores them with a judge and by rules."""

import json
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from lm_eval.tasks import TaskManager

from bai_sweep.judging import Reply, Spending
from bai_sweep.records import UserError
from bai_sweep.scoring import Resources, using

FOLDER = Path(__file__).parents[3] / "evaluators/mixeval_hard"
VERSIONS = ("2024-08-11", "2024-06-01")
TASKS = {f"mixeval_hard{rules}{suffix}" for rules in ("", "_rules") for suffix in ("", "_2024-06-01")}


def items(version: str) -> dict[str, dict[str, dict[str, Any]]]:
    free_form = {"problem_type": "free-form", "context": None, "target": ["2", "two"], "benchmark_name": "DROP"}
    choice = {"problem_type": "multiple-choice", "context": "A fox.", "target": [1], "benchmark_name": "PIQA"}
    return {
        "free-form": {str(n): {**free_form, "prompt": f"How many in {version}?"} for n in range(3)},
        "multiple-choice": {"0": {**choice, "prompt": "Which?", "options": ["red", "blue"]}},
    }


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("data")
    for version in VERSIONS:
        folder = root / "mixeval_hard" / version
        folder.mkdir(parents=True)
        for half, rows in items(version).items():
            (folder / f"{half}.json").write_text(json.dumps(rows))
    manager = TaskManager(include_path=str(FOLDER), include_defaults=False, metadata={"data_dir": str(root)})
    assert set(manager.all_tasks) == TASKS
    return dict(manager.load(sorted(TASKS))["tasks"])


class TenthsJudge:
    """Finds every free-form answer half right and reads every choice as B."""

    name = "tenths"

    def ask(self, messages: Any, **_: Any) -> Reply:
        is_choice = "option extractor" in messages[0]["content"]
        return Reply("[[B]]" if is_choice else "[[0.5]]", 1, 1, cached=False, model=self.name)

    def spent(self) -> Spending:
        return Spending()


@pytest.mark.parametrize("name", sorted(TASKS))
def test_a_task_has_both_halves_of_its_version_by_turns(tasks: dict[str, Any], name: str) -> None:
    task = tasks[name]
    docs = list(task.test_docs())
    assert [doc["id"] for doc in docs] == ["free-form/0", "multiple-choice/0", "free-form/1", "free-form/2"]
    same = [[a["cluster"] == b["cluster"] for b in docs] for a in docs]
    assert same == [[a["prompt"] == b["prompt"] for b in docs] for a in docs]
    assert [doc["stratum"] for doc in docs] == ["free-form", "multiple-choice", "free-form", "free-form"]
    version = "2024-06-01" if name.endswith("2024-06-01") else "2024-08-11"
    assert task.doc_to_text(docs[0]) == f"Question: How many in {version}?\nAnswer the question shortly."
    assert task.doc_to_text(docs[1]).startswith("A fox.\nWhich?\nA. red\nB. blue\n")
    assert [task.doc_to_target(doc) for doc in docs[:2]] == ["2; two", "B"]
    assert task.config.generation_kwargs == {"until": [], "max_gen_toks": 8192, "do_sample": False}
    assert task.config.metadata["chat_template"] is True
    assert task.config.metadata["version"] == version


def figures(task: Any, answers: list[str]) -> dict[str, float]:
    results = [task.process_results(doc, [text]) for doc, text in zip(task.test_docs(), answers, strict=True)]
    return {name: aggregate([r[name] for r in results]) for name, aggregate in task.aggregation().items()}


@pytest.mark.parametrize("name", ["mixeval_hard_rules", "mixeval_hard_rules_2024-06-01"])
def test_by_rules(tasks: dict[str, Any], name: str) -> None:
    assert figures(tasks[name], ["2", "no", "It is two.", "three"]) == {
        "score": 0.5,
        "free_form": pytest.approx(2 / 3),
        "multiple_choice": 0.0,
        "unparsed": 0.25,
    }


@pytest.mark.parametrize("name", ["mixeval_hard", "mixeval_hard_2024-06-01"])
def test_with_a_judge(tasks: dict[str, Any], name: str) -> None:
    with using(Resources(judge=TenthsJudge(), threads=2)):
        assert figures(tasks[name], ["2", "no", "3", "4"]) == {
            "score": 0.625,
            "free_form": 0.5,
            "multiple_choice": 1.0,
            "unparsed": 0.0,
        }


def test_a_judged_item_is_scored_in_the_background_once(tasks: dict[str, Any]) -> None:
    task = tasks["mixeval_hard"]
    with using(Resources(judge=TenthsJudge())):
        result = task.process_results(task.test_docs()[0], ["2"])
    assert len(set(map(id, result.values()))) == 1
    assert isinstance(result["score"], Future)
    assert result["score"].result(timeout=10).detail["benchmark"] == "DROP"


def test_without_a_judge_it_is_refused_at_once(tasks: dict[str, Any]) -> None:
    task = tasks["mixeval_hard"]
    with using(Resources()), pytest.raises(UserError, match="run the task mixeval_hard_rules"):
        task.process_results(task.test_docs()[0], ["2"])
