"""lm-eval loads the testbed's benchmarks without a hub, and scores them as their READMEs say."""

from pathlib import Path
from typing import Any

import pytest
from lm_eval.tasks import TaskManager

from bai_sweep.testbed import arena_baseline
from bai_sweep.testbed._tokenizer import EOS
from bai_sweep.testbed._world import world

EVALUATORS = Path(__file__).parents[3] / "evaluators"
TASKS = {"testbed_knowledge": 300, "testbed_arithmetic": 160, "testbed_arena": 60}


@pytest.fixture(scope="module")
def tasks() -> dict[str, Any]:
    manager = TaskManager(include_path=str(EVALUATORS), include_defaults=False)
    return dict(manager.load(list(TASKS))["tasks"])


@pytest.mark.parametrize("name", TASKS)
def test_a_task_has_its_items(tasks: dict[str, Any], name: str) -> None:
    task = tasks[name]
    assert len(task.test_docs()) == TASKS[name]
    assert task.config.metadata["chat_template"] == (name != "testbed_knowledge")
    assert all(task.higher_is_better().values())
    assert (EVALUATORS / name / "README.md").read_text().startswith(f"# {name}\n")


def test_knowledge_offers_ten_values_one_of_them_true(tasks: dict[str, Any]) -> None:
    facts = {f.cloze: f.value for f in world().all_facts}
    for doc in tasks["testbed_knowledge"].test_docs():
        assert len(set(doc["choices"])) == 10
        assert doc["choices"][doc["gold"]] == facts[doc["query"]]


@pytest.mark.parametrize("name", ["testbed_arithmetic", "testbed_arena"])
def test_generation_stops_at_the_end_of_the_chat(tasks: dict[str, Any], name: str) -> None:
    kwargs = tasks[name].config.generation_kwargs
    assert kwargs["until"] == [EOS]
    assert kwargs["max_gen_toks"] == 200


def test_arithmetic_takes_the_exact_answer_after_the_thought(tasks: dict[str, Any]) -> None:
    task = tasks["testbed_arithmetic"]
    doc = task.test_docs()[0]
    right = f"<think> hm. </think> the answer is {doc['answer']}."
    assert task.process_results(doc, [right]) == {"exact_match": 1.0}
    assert task.process_results(doc, [right.replace("</think>", "")]) == {"exact_match": 0.0}
    assert task.process_results(doc, [right.replace(doc["answer"], "100")]) == {"exact_match": 0.0}


def test_the_baseline_against_itself_is_a_draw(tasks: dict[str, Any]) -> None:
    task = tasks["testbed_arena"]
    results = [
        task.process_results(doc, [answer]) for doc, answer in zip(task.test_docs(), arena_baseline(), strict=True)
    ]
    assert {r["win_rate"] for r in results} == {0.5}
    assert task.aggregation()["pooled_win_rate"]([r["pooled_win_rate"] for r in results]) == 0.5


def test_the_pooled_score_weighs_decisive_verdicts_three_times(tasks: dict[str, Any]) -> None:
    pooled = tasks["testbed_arena"].aggregation()["pooled_win_rate"]
    assert pooled([(6, 6), (0, 2)]) == pytest.approx(0.75)
