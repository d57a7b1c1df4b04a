"""lm-eval loads the task supergpqa from local rows and reports its figures."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from lm_eval.tasks import TaskManager

FOLDER = Path(__file__).parents[3] / "evaluators/supergpqa"
PLACES = [
    ("Science", "Physics", "easy"),
    ("Science", "Physics", "hard"),
    ("Literature and Arts", "Musicology", "hard"),
]
ROWS = [
    {
        "uuid": f"id{number}",
        "question": "How many?",
        "options": ["one", "two", "three", "four"][: 4 - number],
        "answer": "two",
        "answer_letter": "B",
        "discipline": discipline,
        "field": field,
        "subfield": "Sound",
        "difficulty": difficulty,
        "is_calculation": False,
    }
    for number, (discipline, field, difficulty) in enumerate(PLACES)
]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("data")
    (root / "supergpqa").mkdir()
    (root / "supergpqa/test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    manager = TaskManager(include_path=str(FOLDER), include_defaults=False, metadata={"data_dir": str(root)})
    return manager.load(["supergpqa"])["tasks"]["supergpqa"]


def test_items_have_their_official_id_and_the_discipline_as_stratum(task: Any) -> None:
    docs = list(task.test_docs())
    assert [doc["id"] for doc in docs] == ["id0", "id1", "id2"]
    assert [doc["stratum"] for doc in docs] == ["Science", "Science", "Literature and Arts"]
    assert [len(doc["options"]) for doc in docs] == [4, 3, 2]
    assert task.doc_to_text(docs[2]).endswith("\n\nHow many?\nA) one\nB) two\n")
    assert task.doc_to_target(docs[0]) == "B"


def test_generation_is_greedy_and_long_enough_for_a_thought(task: Any) -> None:
    assert task.config.generation_kwargs == {"until": [], "max_gen_toks": 32768, "do_sample": False}
    assert task.config.metadata["chat_template"] is True


def test_every_metric_is_reported(task: Any) -> None:
    answers = ["Answer: B", "No idea.", "Answer: B"]
    results = [task.process_results(doc, [text]) for doc, text in zip(task.test_docs(), answers, strict=True)]
    assert all(set(result) == set(task.aggregation()) for result in results)
    figures = {name: aggregate([r[name] for r in results]) for name, aggregate in task.aggregation().items()}
    expected = {
        "acc": 2 / 3,
        "no_answer": 1 / 3,
        "macro_discipline": 0.75,
        "macro_field": 0.75,
        "macro_subfield": 0.75,
        "acc_easy": 1.0,
        "acc_hard": 0.5,
        "acc_science": 0.5,
        "acc_literature_and_arts": 1.0,
    }
    assert {name: value for name, value in figures.items() if not math.isnan(value)} == pytest.approx(expected)
    assert len([name for name in figures if name.startswith("acc_")]) == 3 + 13
    assert [name for name, better in task.higher_is_better().items() if not better] == ["no_answer"]
