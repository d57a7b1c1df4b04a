"""lm-eval loads the tasks of ArenaHard from local files, and scores them with a judge."""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from lm_eval.tasks import TaskManager

from bai_sweep.judging import BudgetError, Reply, Spending
from bai_sweep.records import UserError
from bai_sweep.scoring import Resources, using
from bai_sweep.scoring.arenahard import judge_messages

FOLDER = Path(__file__).parents[3] / "evaluators/arenahard"
V01, HARD, CREATIVE = "arenahard_v0.1", "arenahard_v2_hard_prompt", "arenahard_v2_creative_writing"
BASELINES = {V01: "gpt-4-0314", HARD: "o3-mini-2025-01-31", CREATIVE: "gemini-2.0-flash-001"}
METRICS = {
    "win_rate",
    "bt_win_rate",
    "win_rate_ci_low",
    "win_rate_ci_high",
    "position_bias",
    "position_bias_ci_low",
    "position_bias_ci_high",
    "judge_disagreement",
    "judge_contradiction",
    "judge_kappa",
    "null_verdicts",
}
METRICS_V2 = METRICS | {
    "bootstrap_win_rate",
    "style_controlled_win_rate",
    "style_controlled_ci_low",
    "style_controlled_ci_high",
    "equal_style_win_rate",
}


def question(uid: str, category: str, **kind: str) -> dict[str, Any]:
    return {"uid": uid, "category": category, "prompt": f"Question {uid}?", **kind}


def answer(uid: str, model: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": {"answer": f"{model} on {uid}"}}]
    return {"uid": uid, "model": model, "messages": messages}


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def loaded(root: Path, names: Sequence[str]) -> dict[str, Any]:
    manager = TaskManager(include_path=str(FOLDER), include_defaults=False, metadata={"data_dir": str(root)})
    assert set(manager.all_tasks) == {V01, HARD, CREATIVE, "arenahard_v2"}
    return dict(manager.load(list(names))["tasks"])


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("data")
    older = [  # v0.1's first form
        {
            "question_id": f"q{n}",
            "category": "arena-hard-v0.1",
            "cluster": f"topic {n // 2}",
            "turns": [{"content": f"Question q{n}?"}],
        }
        for n in range(4)
    ]
    write(root / "arenahard/v0.1/question.jsonl", older)
    turns = [
        {
            "question_id": f"q{n}",
            "model_id": "gpt-4-0314",
            "choices": [{"turns": [{"content": f"gpt-4-0314 on q{n}"}]}],
        }
        for n in reversed(range(4))
    ]
    write(root / "arenahard/v0.1/model_answer/gpt-4-0314.jsonl", turns)
    hard = [question(f"h{n}", "hard_prompt", subcategory=("math", "coding")[n % 2]) for n in range(3)]
    creative = [question(f"c{n}", "creative_writing", subcategory="creative_writing") for n in range(2)]
    write(root / "arenahard/v2.0/question.jsonl", [*hard, *creative])
    for model in (BASELINES[HARD], BASELINES[CREATIVE]):
        rows = [answer(row["uid"], model) for row in (*hard, *creative)]
        write(root / f"arenahard/v2.0/model_answer/{model}.jsonl", rows)
    return loaded(root, [V01, "arenahard_v2"])


class LongerIsBetter:
    """Favours the longer answer, decisively if it has an exclamation mark; without verdict where it reads "mute"."""

    name = "ruler"

    def __init__(self) -> None:
        self.asked: list[Sequence[Mapping[str, str]]] = []

    def ask(self, messages: Sequence[Mapping[str, str]], **_: Any) -> Reply:
        self.asked.append(messages)
        _, _, rest = messages[1]["content"].partition("Assistant A's Answer|>\n")
        first, _, second = rest.partition("\n<|The End of Assistant A's Answer|>")
        second = second.partition("Assistant B's Answer|>\n")[2].partition("\n<|The End")[0]
        mark = ">>" if "!" in first + second else ">"
        verdict = f"A{mark}B" if len(first) > len(second) else f"B{mark}A"
        return Reply("Hm." if "mute" in first + second else f"[[{verdict}]]", 1, 1, cached=False, model=self.name)

    def spent(self) -> Spending:
        return Spending()


def figures(task: Any, answers: list[str], judge: Any = None) -> dict[str, float]:
    with using(Resources(judge=judge or LongerIsBetter(), threads=2)):
        results = [task.process_results(doc, [text]) for doc, text in zip(task.test_docs(), answers, strict=True)]
        return {name: aggregate([r[name] for r in results]) for name, aggregate in task.aggregation().items()}


@pytest.mark.parametrize(
    ("name", "ids", "clusters", "strata"),
    [
        (V01, ["q0", "q1", "q2", "q3"], ["topic 0", "topic 0", "topic 1", "topic 1"], [None] * 4),
        (HARD, ["h0", "h1", "h2"], [None] * 3, ["math", "coding", "math"]),
        (CREATIVE, ["c0", "c1"], [None] * 2, ["creative_writing"] * 2),
    ],
)
def test_a_task_has_its_questions_and_its_baselines_answers(
    tasks: dict[str, Any], name: str, ids: list[str], clusters: list[str | None], strata: list[str | None]
) -> None:
    task = tasks[name]
    docs = list(task.test_docs())
    assert [doc["id"] for doc in docs] == ids
    assert [doc.get("cluster") for doc in docs] == clusters
    assert [doc.get("stratum") for doc in docs] == strata
    assert [task.doc_to_text(doc) for doc in docs] == [f"Question {uid}?" for uid in ids]
    assert [task.doc_to_target(doc) for doc in docs] == [f"{BASELINES[name]} on {uid}" for uid in ids]
    longest = 4096 if name == V01 else 32000
    assert task.config.generation_kwargs == {"until": [], "max_gen_toks": longest, "do_sample": False}
    assert task.config.metadata["chat_template"] is True
    assert task.config.metadata["version"] == (0.1 if name == V01 else 2.0)
    assert set(task.aggregation()) == (METRICS if name == V01 else METRICS_V2)


def test_v01s_figures(tasks: dict[str, Any]) -> None:
    long, short = "an answer that is longer than the baseline's", "short!"
    found = figures(tasks[V01], [long, short, long, "mute"])
    assert found["win_rate"] == pytest.approx(4 / 10)  # won 2 and 2 battles, lost 6
    assert found["bt_win_rate"] == pytest.approx(4 / 10, abs=1e-9)
    assert 0.0 <= found["win_rate_ci_low"] < 0.4 < found["win_rate_ci_high"] <= 1.0
    assert found["position_bias"] == 0.5
    assert found["judge_disagreement"] == found["judge_contradiction"] == 0.0
    assert found["judge_kappa"] == pytest.approx(1.0)
    assert found["null_verdicts"] == pytest.approx(2 / 8)


@pytest.mark.parametrize(("name", "count"), [(HARD, 3), (CREATIVE, 2)])
def test_v2s_figures(tasks: dict[str, Any], name: str, count: int) -> None:
    long = "an answer that is longer than the baseline's"
    found = figures(tasks[name], [long, *["short!"] * (count - 1)])
    expected = 2 / (2 + 6 * (count - 1))
    assert found["win_rate"] == pytest.approx(expected)
    assert found["bootstrap_win_rate"] == pytest.approx(expected, abs=0.1)
    assert 0.0 <= found["win_rate_ci_low"] <= expected <= found["win_rate_ci_high"] <= 1.0
    assert 0.0 <= found["style_controlled_ci_low"] <= found["style_controlled_win_rate"] <= 1.0
    assert found["null_verdicts"] == 0.0


def test_creative_writing_has_a_judges_prompt_of_its_own(tasks: dict[str, Any]) -> None:
    for name, category in ((HARD, "hard_prompt"), (CREATIVE, "creative_writing")):
        judge = LongerIsBetter()
        figures(tasks[name], ["x"] * len(tasks[name].test_docs()), judge)
        systems = {messages[0]["content"] for messages in judge.asked}
        assert systems == {judge_messages(category, "", "", "")[0]["content"]}


def test_a_question_is_judged_in_the_background_once(tasks: dict[str, Any]) -> None:
    judge = LongerIsBetter()
    with using(Resources(judge=judge)):
        result = tasks[V01].process_results(tasks[V01].test_docs()[0], ["yes"])
        assert isinstance(result["win_rate"], Future)
        assert result["win_rate"].result(timeout=10).detail["verdicts"] == ["A>B", "B>A"]
    assert len(set(map(id, result.values()))) == 1
    assert len(judge.asked) == 2


def test_a_spent_budget_is_not_hidden(tasks: dict[str, Any]) -> None:
    class Broke(LongerIsBetter):
        def ask(self, messages: Sequence[Mapping[str, str]], **_: Any) -> Reply:
            raise BudgetError("the cap is reached")

    with pytest.raises(BudgetError, match="cap"):
        figures(tasks[V01], ["x"] * 4, Broke())


def test_without_a_judge_it_is_refused_at_once(tasks: dict[str, Any]) -> None:
    with using(Resources()), pytest.raises(UserError, match="ArenaHard needs a judge"):
        tasks[V01].process_results(tasks[V01].test_docs()[0], ["x"])


def test_the_real_v01_files(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "arenahard").mkdir()
    (tmp_path / "arenahard/v0.1").symlink_to(shared_data("arenahard/arena-hard-v0.1"))
    docs = list(loaded(tmp_path, [V01])[V01].test_docs())
    assert len(docs) == 500
    assert len({doc["cluster"] for doc in docs}) == 250
    assert all(doc["baseline"] for doc in docs)
