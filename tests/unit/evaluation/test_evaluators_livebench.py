"""lm-eval loads LiveBench's 18 tasks from local files, scores their answers and averages them as LiveBench does."""

import json
from concurrent.futures import Future
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import yaml
from lm_eval.tasks import TaskManager

from bai_sweep.evaluation._catalogue import find_task
from bai_sweep.evaluation._responses import decoding_of
from bai_sweep.records import UserError
from bai_sweep.scoring import Resources, using
from bai_sweep.scoring.livebench import TASKS, aggregate

EVALUATORS = Path(__file__).parents[3] / "evaluators"
LIVEBENCH = {
    "coding": ["LCB_generation", "coding_completion"],
    "data_analysis": ["cta", "tablejoin", "tablereformat"],
    "instruction_following": ["paraphrase", "simplify", "story_generation", "summarize"],
    "language": ["connections", "plot_unscrambling", "typos"],
    "math": ["AMPS_Hard", "math_comp", "olympiad"],
    "reasoning": ["spatial", "web_of_lies_v2", "zebra_puzzle"],
}
PAIRS = [(category, task) for category, tasks in LIVEBENCH.items() for task in tasks]
DATES = [("2024-06-24", ""), ("2024-06-24", "2024-11-25"), ("2024-11-25", "2025-04-02"), ("2025-04-25", "")]
FIELDS: dict[str, dict[str, Any]] = {
    "instruction_following": {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{"num_words": None}]},
    "coding": {
        "public_test_cases": json.dumps([{"input": "1 2", "output": "3", "testtype": "stdin"}]),
        "private_test_cases": "[]",
        "original_json": {"metadata": "{}"},
        "partial_solution": "",
    },
}


def _question(category: str, task: str, number: int, released: str, removed: str) -> dict[str, Any]:
    return {
        "question_id": f"{task}-{number}",
        "category": category,
        "task": task,
        "turns": [f"Question {number} of {task}?"],
        "livebench_release_date": released,
        "livebench_removal_date": removed,
        **FIELDS.get(category, {"ground_truth": "3"}),
    }


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four questions a task, of which the first and the third belong to the release."""
    root = tmp_path_factory.mktemp("data")
    for category, task in PAIRS:
        path = root / "livebench" / category / task / "question.jsonl"
        path.parent.mkdir(parents=True)
        questions = [_question(category, task, number, *dates) for number, dates in enumerate(DATES)]
        path.write_text("".join(json.dumps(question) + "\n" for question in questions))
    return root


def _load(spec: str, data_dir: Path) -> dict[str, Any]:
    source = find_task(spec)
    folders = [str(folder) for folder in source.folders]
    manager = TaskManager(include_path=folders, include_defaults=False, metadata={"data_dir": str(data_dir)})
    return dict(manager.load([source.spec]))


@pytest.fixture(scope="module")
def loaded(data_dir: Path) -> dict[str, Any]:
    return _load("livebench", data_dir)


def test_the_group_needs_its_own_folder_and_no_hub() -> None:
    source = find_task("livebench")
    assert (source.spec, source.folders, source.datasets) == ("livebench", (EVALUATORS / "livebench",), ())


def test_the_tasks_are_those_that_are_scored(loaded: dict[str, Any]) -> None:
    assert {category: list(tasks) for category, tasks in TASKS.items()} == LIVEBENCH
    assert set(loaded["tasks"]) == {f"livebench_{task.lower()}" for _, task in PAIRS}
    for category, tasks in LIVEBENCH.items():
        assert loaded["groups"][f"livebench_{category}"].child_names == [f"livebench_{t.lower()}" for t in tasks]
    assert loaded["groups"]["livebench"].child_names == [f"livebench_{category}" for category in LIVEBENCH]


@pytest.mark.parametrize(("category", "task"), PAIRS)
def test_a_task_has_the_questions_of_the_release(loaded: dict[str, Any], category: str, task: str) -> None:
    docs = list(loaded["tasks"][f"livebench_{task.lower()}"].test_docs())
    assert [doc["id"] for doc in docs] == [f"{task}-0", f"{task}-2"]
    assert {(doc["category"], doc["task"]) for doc in docs} == {(category, task)}
    assert docs[0]["cluster"] == docs[0]["id"]
    assert json.loads(docs[0]["question"]) == _question(category, task, 0, *DATES[0])


def test_a_prompt_is_the_question_and_nothing_else(loaded: dict[str, Any]) -> None:
    task = loaded["tasks"]["livebench_typos"]
    assert task.doc_to_text(task.test_docs()[0]) == "Question 0 of typos?"
    assert task.doc_to_target(task.test_docs()[0]) == "3"


def test_responses_are_greedy_and_have_4096_tokens(loaded: dict[str, Any]) -> None:
    for task in loaded["tasks"].values():
        decoding = decoding_of(task.config.generation_kwargs, 32768)
        assert (decoding.until, decoding.max_new_tokens, decoding.temperature) == ((), 4096, 0.0)
        assert task.config.metadata["chat_template"] is True
        assert task.higher_is_better() == {"score": True, "average": True}


def test_an_answer_gets_its_points(loaded: dict[str, Any]) -> None:
    task = loaded["tasks"]["livebench_simplify"]
    doc = task.test_docs()[0]
    assert task.process_results(doc, ["no comma"]) == {"score": 1.0, "average": 1.0}
    assert task.process_results(doc, ["a, comma"]) == {"score": 0.0, "average": 0.0}


@pytest.mark.parametrize("name", ["livebench_lcb_generation", "livebench_coding_completion"])
def test_a_program_is_run_in_the_background(loaded: dict[str, Any], name: str) -> None:
    task = loaded["tasks"][name]
    doc = task.test_docs()[0]
    with using(Resources(isolation="process")):
        right = task.process_results(doc, ["```python\nprint(sum(map(int, input().split())))\n```"])["score"]
        wrong = task.process_results(doc, ["```python\nprint(4)\n```"])["score"]
        assert isinstance(right, Future)
        assert task.aggregation()["score"]([right, wrong]) == 0.5
    assert right.result().detail["tests"] == 1


def test_groups_average_as_livebench_does(loaded: dict[str, Any]) -> None:
    """lm-eval averages a group over all its tasks; `average` makes that the mean of the categories' means."""
    values = {f"livebench_{task.lower()}": 1 / (number + 2) for number, (_, task) in enumerate(PAIRS)}
    metrics = {
        name: {
            f"{metric},none": loaded["tasks"][name].aggregation()[metric]([value]) for metric in ("score", "average")
        }
        | {"sample_len": 10 + number}
        for number, (name, value) in enumerate(values.items())
    }
    means = {
        category: fmean(values[f"livebench_{task.lower()}"] for task in tasks) for category, tasks in LIVEBENCH.items()
    }
    for category, mean in means.items():
        group = loaded["groups"][f"livebench_{category}"].aggregate(metrics)
        assert group["score,none"] == pytest.approx(mean, abs=1e-12)
    whole = loaded["groups"]["livebench"].aggregate(metrics)
    official = aggregate({pair: [value] for pair, value in zip(PAIRS, values.values(), strict=True)})
    assert whole["average,none"] == pytest.approx(official, abs=1e-12)
    assert whole["average,none"] == pytest.approx(fmean(means.values()), abs=1e-12)
    assert whole["score,none"] == pytest.approx(fmean(values.values()), abs=1e-12)
    assert whole["score,none"] != pytest.approx(whole["average,none"], abs=1e-3)


def test_every_group_tells_the_platform_to_weigh_its_members_alike(loaded: dict[str, Any]) -> None:
    for group in loaded["groups"].values():
        (rule,) = [rule for rule in group.aggregate_metric_list if rule.metric == "score"]
        assert rule.weight_by_size is False


def test_a_category_and_a_task_load_alone(data_dir: Path) -> None:
    assert set(_load("livebench_coding", data_dir)["tasks"]) == {
        "livebench_lcb_generation",
        "livebench_coding_completion",
    }
    assert list(_load("livebench_amps_hard", data_dir)["tasks"]) == ["livebench_amps_hard"]


def test_a_task_without_its_file_is_refused(data_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "livebench" / "language"
    folder.mkdir(parents=True)
    (folder / "typos").symlink_to(data_dir / "livebench/language/typos")
    assert len(_load("livebench_typos", tmp_path)["tasks"]["livebench_typos"].test_docs()) == 2
    with pytest.raises(UserError, match=r"cta needs the file livebench/data_analysis/cta/question; .* language/typos"):
        _load("livebench_cta", tmp_path)


def test_all_tasks_share_one_template() -> None:
    class Reader(yaml.SafeLoader):
        """Functions as their names."""

    Reader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))
    files = sorted((EVALUATORS / "livebench").glob("*.yaml"))
    configs = [yaml.load(path.read_text(), Loader=Reader) for path in files]
    tasks = [config for config in configs if "group" not in config]
    assert len(tasks) == 18
    for config in tasks:
        assert config["include"] == "_template_yaml"
        assert config.keys() - {"metric_list"} == {"task", "include", "dataset_kwargs"}
