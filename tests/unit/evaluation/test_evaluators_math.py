"""lm-eval loads math, math500 and aime_2024 from local rows and reports their figures."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from lm_eval.tasks import TaskManager

EVALUATORS = Path(__file__).parents[3] / "evaluators"
MATH = [
    {
        "problem": "What is $1/2 + 1/4$?",
        "solution": r"It is $\boxed{\frac34}.$",
        "type": "Prealgebra",
        "level": "Level 1",
    },
    {
        "problem": "Solve $x^2 = 4$.",
        "solution": r"We get $x = \boxed{2,-2}.$",
        "type": "Algebra",
        "level": "Level 5",
    },
]
MATH500 = [
    {**row, "answer": answer, "subject": row["type"], "level": level, "unique_id": f"test/{level}.json"}
    for row, answer, level in zip(MATH, [r"\frac34", "2,-2"], [1, 5], strict=True)
]
AIME = [
    {"ID": "2024-I-1", "Problem": "How long?", "Solution": "So.", "Answer": 25},
    {"ID": "2024-II-4", "Problem": "How many?", "Solution": "So.", "Answer": 204},
]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("data")
    for name, rows in {"math": MATH, "math500": MATH500, "aime_2024": AIME}.items():
        (root / name).mkdir()
        (root / name / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folders = [str(EVALUATORS / name) for name in ("math", "aime_2024")]
    manager = TaskManager(include_path=folders, include_defaults=False, metadata={"data_dir": str(root)})
    return dict(manager.load(["math", "math500", "aime_2024"])["tasks"])


def figures(task: Any, responses: list[list[str]]) -> dict[str, float]:
    results = [task.process_results(doc, [each]) for doc, each in zip(task.test_docs(), responses, strict=True)]
    assert all(set(result) == set(task.aggregation()) for result in results)
    return {name: aggregate([r[name] for r in results]) for name, aggregate in task.aggregation().items()}


@pytest.mark.parametrize("name", ["math", "math500", "aime_2024"])
def test_problems_are_asked_zero_shot_and_greedy_with_room_for_a_thought(tasks: dict[str, Any], name: str) -> None:
    task = tasks[name]
    doc = task.test_docs()[0]
    directive = r"Please reason step by step, and put your final answer within \boxed{}."
    assert task.doc_to_text(doc) == f"{doc['problem']}\n{directive}"
    assert task.config.generation_kwargs == {"until": [], "max_gen_toks": 32768, "do_sample": False}
    assert task.config.repeats == 1
    assert [(f.name, len(f.filters)) for f in task._filters] == [("none", 1)]
    assert task.config.metadata["chat_template"] is True
    assert [metric for metric, better in task.higher_is_better().items() if not better] == ["no_answer"]


def test_math_takes_the_answer_from_the_solution_where_it_has_no_column(tasks: dict[str, Any]) -> None:
    docs = tasks["math"].test_docs()
    assert [doc["answer"] for doc in docs] == [r"\frac34", "2,-2"]
    assert [doc["stratum"] for doc in docs] == ["Prealgebra", "Algebra"]
    assert [doc["level"] for doc in docs] == [1, 5]
    assert len({doc["id"] for doc in docs}) == 2
    assert [doc["id"] for doc in tasks["math500"].test_docs()] == ["test/1.json", "test/5.json"]


@pytest.mark.parametrize("name", ["math", "math500"])
def test_math_reports_accuracy_in_all_and_by_level(tasks: dict[str, Any], name: str) -> None:
    got = figures(tasks[name], [[r"$\boxed{0.75}$."], ["Hm."]])
    assert {metric: value for metric, value in got.items() if not math.isnan(value)} == {
        "exact_match": 0.5,
        "no_answer": 0.5,
        "level_1": 1.0,
        "level_5": 0.0,
    }
    assert figures(tasks[name], [[r"\boxed{3/4}"], [r"\boxed{x=-2 \text{ or } x=2}"]])["exact_match"] == 1.0


def test_a_score_of_math_averages_over_the_responses(tasks: dict[str, Any]) -> None:
    got = figures(tasks["math"], [[r"\boxed{3/4}", r"\boxed{1}", "Hm.", r"\boxed{.75}"], ["Hm."] * 4])
    assert got["exact_match"] == 0.25
    assert got["no_answer"] == 5 / 8
    item = tasks["math"].process_results(tasks["math"].test_docs()[0], [[r"\boxed{3/4}", "Hm."]])["exact_match"]
    assert item.detail["extracted"] == ["3/4", None]
    assert item.detail["right"] == [True, False]


def test_aime_reports_the_mean_the_majority_and_the_best(tasks: dict[str, Any]) -> None:
    assert [doc["id"] for doc in tasks["aime_2024"].test_docs()] == ["2024-I-1", "2024-II-4"]
    first = [r"\boxed{025}", r"\boxed{25}", r"\boxed{26}", "Hm."]
    second = [r"\boxed{24}", r"\boxed{24}", r"\boxed{m+n=204}", r"\boxed{2040}"]
    assert figures(tasks["aime_2024"], [first, second]) == {
        "exact_match": 0.375,
        "maj_at_k": 0.5,
        "pass_at_k": 1.0,
        "no_answer": 0.25,
    }


@pytest.mark.parametrize(("folder", "title"), [("math", "math"), ("aime_2024", "aime_2024")])
def test_each_has_a_readme(folder: str, title: str) -> None:
    assert (EVALUATORS / folder / "README.md").read_text().startswith(f"# {title}\n")
