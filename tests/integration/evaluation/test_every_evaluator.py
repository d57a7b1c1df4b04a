"""The paper's nine benchmarks, whole: from files in the documented layout to a report, and its items to a table."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from benchmark_files import LIVEBENCH, Files
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from bai_sweep import evaluation
from bai_sweep.config import EvaluationConfig
from bai_sweep.evaluation._adapter import ActorLM
from bai_sweep.evaluation.command import settings_of
from bai_sweep.judging import Reply, Spending
from bai_sweep.records import EvalReport, UserError
from bai_sweep.sources import testbed_weights as weights_of_the_testbed

NINE = {
    "mmlu_pro": "exact_match,custom-extract",
    "mmlu": "acc,none",
    "supergpqa": "acc,none",
    "livebench": "score,none",
    "mixeval_hard": "score,none",
    "arenahard": "win_rate,none",
    "aime_2024": "exact_match,none",
    "math": "exact_match,none",
    "mbpp_plus": "pass_at_1,none",
}
LIVEBENCH_TASKS = [f"livebench_{task.lower()}" for tasks in LIVEBENCH.values() for task in tasks]


class FixedJudge:
    """The first answer of two is better; a free-form answer is worth 0.5; a response to options chose A."""

    name = "fixed"

    def __init__(self) -> None:
        self.asked = 0

    def ask(self, messages: Sequence[Mapping[str, str]], **_: Any) -> Reply:
        self.asked += 1
        text = "\n".join(message["content"] for message in messages)
        arena = "Assistant A's Answer" in text
        verdict = "[[A>B]]" if arena else "[[A]]" if "Options" in text or "options" in text else "[[0.5]]"
        return Reply(verdict, 1, 1, cached=False, model=self.name)

    def spent(self) -> Spending:
        return Spending(requests=self.asked)


@pytest.fixture(scope="module")
def instruct() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    folder = weights_of_the_testbed() / "instruct"
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def run(instruct: tuple[PreTrainedModel, PreTrainedTokenizerBase], tmp_path: Path) -> Callable[..., EvalReport]:
    """Evaluates conf/evaluation/paper.yaml on the data of a folder; the items are left in tmp_path / "samples"."""

    def call(data_dir: Path, *more: str) -> EvalReport:
        return evaluation.evaluate(
            *instruct,
            paper(data_dir, tmp_path, *more),
            device=torch.device("cpu"),
            on_progress=lambda done, total: None,
            judge=FixedJudge(),
            samples_dir=tmp_path / "samples",
        )

    return call


def paper(data_dir: Path, folder: Path, *more: str) -> EvaluationConfig:
    settings = settings_of(
        [
            "evaluation=paper",
            f"evaluation.data_dir={data_dir}",
            "evaluation.partial_data=true",
            f"evaluation.cache_dir={folder / 'cache'}",
            "evaluation.max_new_tokens=8",
            *more,
        ],
        model="testbed://instruct",
    )
    return settings.evaluation


def items_in(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Rows of the table by benchmark; none is there twice."""
    rows = pq.read_table(folder / "samples" / "items.parquet").to_pylist()
    keys = [(row["benchmark"], row["task"], row["id"]) for row in rows]
    assert len(set(keys)) == len(keys)
    tables: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        tables.setdefault(row["benchmark"], []).append(row)
    return tables


def check_whole(report: EvalReport, folder: Path, counts: Mapping[str, int]) -> None:
    """Nine scores in points, their mean, and an item of the table for every one that was scored."""
    assert report.missing == {}
    assert {score.benchmark: score.metric for score in report.scores} == NINE
    assert {score.benchmark: score.n for score in report.scores} == counts
    assert all(0.0 <= score.value <= 100.0 for score in report.scores)
    assert report.overall == pytest.approx(math.fsum(score.value for score in report.scores) / 9, abs=1e-9)
    tables = items_in(folder)
    assert list(tables) == list(NINE)
    for score in report.scores:
        rows = tables[score.benchmark]
        assert len(rows) == score.n
        weights = [row["own_weight"] * row["share"] for row in rows]
        mean = math.fsum(w * row["points"] for w, row in zip(weights, rows, strict=True)) / math.fsum(weights)
        assert score.value == pytest.approx(mean, abs=1e-9)
        assert len((folder / "samples" / f"{score.benchmark}.jsonl").read_text().splitlines()) == score.n
    record = json.loads((folder / "samples" / "evaluation.json").read_text())
    assert list(record["benchmarks"]) == list(NINE)
    assert all(entry["data"]["partial"] for name, entry in record["benchmarks"].items() if name in {"mmlu", "math"})


def test_all_nine_run_to_an_overall_score(run: Callable[..., EvalReport], tmp_path: Path) -> None:
    report = run(Files(tmp_path / "data").root, "limit=2")
    counts = {"mmlu_pro": 4, "mmlu": 4, "livebench": 36}
    check_whole(report, tmp_path, {name: counts.get(name, 2) for name in NINE})
    scores = {score.benchmark: score for score in report.scores}
    assert scores["mixeval_hard"].value == pytest.approx(75.0)  # 0.5 of the free-form item, and A is right
    assert scores["arenahard"].value == pytest.approx(50.0)  # the first answer won both games
    assert scores["livebench"].figures.keys() >= {*LIVEBENCH_TASKS, *(f"livebench_{name}" for name in LIVEBENCH)}


@pytest.mark.parametrize("right", [True, False])
def test_right_answers_score_100_and_silence_0(
    right: bool, run: Callable[..., EvalReport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts, filters, extraction and scoring of each benchmark fit together; the judged two depend on the judge."""
    files = Files(tmp_path / "data")

    def generate(lm: ActorLM, requests: Sequence[Any], **_: Any) -> list[str]:
        return [files.answer_to(request.args[0]) if right else "" for request in requests]

    def loglikelihood(lm: ActorLM, requests: Sequence[Any], **_: Any) -> list[tuple[float, bool]]:
        found = [(files.answer_to(request.args[0]) == request.args[1].strip()) for request in requests]
        return [(0.0 if hit is right else -9.0, hit is right) for hit in found]

    monkeypatch.setattr(ActorLM, "generate_until", generate)
    monkeypatch.setattr(ActorLM, "loglikelihood", loglikelihood)
    report = run(files.root)
    judged = {"mixeval_hard", "arenahard"}
    points = {score.benchmark: score.value for score in report.scores if score.benchmark not in judged}
    assert points == {name: pytest.approx(100.0 if right else 0.0) for name in NINE if name not in judged}
    rows = items_in(tmp_path)
    expected = dict.fromkeys(LIVEBENCH_TASKS, 100.0 if right else 0.0)
    assert {row["task"]: row["points"] for row in rows["livebench"]} == expected


def test_a_judge_that_is_not_there_is_named_before_anything_runs(
    instruct: tuple[PreTrainedModel, PreTrainedTokenizerBase], tmp_path: Path
) -> None:
    config = paper(Files(tmp_path / "data").root, tmp_path)
    with pytest.raises(UserError, match=r"2 of 9 benchmarks cannot run(.|\n)*mixeval_hard: it needs a judge"):
        evaluation.evaluate(*instruct, config, device=torch.device("meta"), on_progress=lambda done, total: None)


@pytest.fixture
def real_files(shared_data: Callable[[str], Path], tmp_path: Path) -> Path:
    """The official files that lie beside the checkout; where a part of a benchmark is not among them, made ones."""
    root = Files(tmp_path / "data").root
    real = {
        "supergpqa/test.jsonl": "supergpqa/supergpqa_sample600.jsonl",
        "mixeval_hard/2024-08-11": "mixeval_hard/mixeval-2024-08-11/mixeval-hard",
        "arenahard/v0.1": "arenahard/arena-hard-v0.1",
        "aime_2024/test.jsonl": "aime24/aime24_qwen25math.jsonl",
        "math/test.jsonl": "math/math500.jsonl",
        "mmlu_pro/test.jsonl": "mmlu_pro/mmlu_pro_sample_with_llama3-70b_outputs.jsonl",
    }
    folder = shared_data("livebench")
    names = [f"livebench/{path.relative_to(folder)}" for path in folder.glob("*/*/question.jsonl")]
    assert len(names) == 9
    real |= {name: name for name in names}
    for place in (root / "mmlu").iterdir():
        place.unlink()
    real |= {f"mmlu/{path.name}": f"mmlu/hf_schema/{path.name}" for path in shared_data("mmlu/hf_schema").iterdir()}
    for name, source in real.items():
        _replace(root / name, shared_data(source))
    # the sample has no validation split: every twelfth of its questions makes five shots for each category
    lines = (root / "mmlu_pro/test.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (root / "mmlu_pro/validation.jsonl").write_text("".join(lines[::12]), encoding="utf-8")
    # 399 rows are an old version as a whole; a part of it is not told from the present one
    with shared_data("mbpp_plus/MbppPlus_2023-11-16.jsonl").open(encoding="utf-8") as file:
        (root / "mbpp_plus/MbppPlus.jsonl").write_text("".join(islice(file, 80)), encoding="utf-8")
    return root


def _replace(path: Path, source: Path) -> None:
    if path.is_dir():
        for file in sorted(path.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        path.rmdir()
    path.unlink(missing_ok=True)
    path.symlink_to(source)


def test_all_nine_run_on_the_official_files(run: Callable[..., EvalReport], real_files: Path, tmp_path: Path) -> None:
    report = run(real_files, "limit=3", "evaluation.benchmarks.aime_2024.repeats=4")
    counts = {"mmlu_pro": 14 * 3, "mmlu": 4 * 3, "livebench": 18 * 3}
    check_whole(report, tmp_path, {name: counts.get(name, 3) for name in NINE})
    scores = {score.benchmark: score for score in report.scores}
    assert scores["arenahard"].value == pytest.approx(50.0)
