"""Which benchmarks can run: against files, a cache folder and a hub that really answers on this machine."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from bai_sweep.config import Benchmark, EvaluationConfig
from bai_sweep.evaluation import check
from bai_sweep.evaluation._availability import missing_benchmarks
from bai_sweep.records import UserError


class _Hub(BaseHTTPRequestHandler):
    asked: list[str] = []  # noqa: RUF012 - one for each test, set by the fixture

    def do_GET(self) -> None:
        self.asked.append(self.path)
        known = self.path.endswith("/known/data")
        body = b'{"id": "known/data"}' if known else b'{"error": "Repository not found"}'
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A hub that has one dataset; the paths it was asked for."""
    with HTTPServer(("127.0.0.1", 0), _Hub) as server:
        _Hub.asked = []
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield _Hub.asked
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty datasets cache, and no hub unless a test starts one."""
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    return tmp_path / "cache"


def config(*tasks: str, allow_missing: bool = False, **unavailable: str) -> EvaluationConfig:
    benchmarks = {
        f"b{i}": Benchmark(task=t, metric="acc", filter="none", chat_template=False, num_fewshot=None, limit=None)
        for i, t in enumerate(tasks)
    }
    return EvaluationConfig(
        name="mine",
        benchmarks=benchmarks,
        unavailable=unavailable,
        allow_missing=allow_missing,
        subset=None,
        data_dir=None,
        partial_data=False,
        cache_dir=tempfile.mkdtemp(),
        isolation="auto",
        scoring_threads=1,
        batch_tokens=100,
        max_new_tokens=10,
        think_end=None,
        seed=0,
    )


def check_all(evaluation: EvaluationConfig) -> None:
    check(evaluation, None)


def missing(evaluation: EvaluationConfig) -> dict[str, str]:
    return missing_benchmarks(evaluation, None)


def task(folder: Path, name: str, lines: str) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(f"task: {name}\n{lines}\n")
    return str(path)


def test_all_that_is_missing_is_named_at_once_with_the_fix(tmp_path: Path) -> None:
    absent = task(tmp_path, "absent", f"dataset_path: json\ndataset_kwargs: {{data_files: {tmp_path}/no.jsonl}}")
    with pytest.raises(UserError) as error:
        check_all(config(absent, "aime24", "testbed_arena", livebench="to come"))
    message = str(error.value)
    assert "evaluation=mine: 3 of 4 benchmarks cannot run" in message
    assert "  - livebench: to come" in message
    assert f"  - b0: there is no data file {tmp_path}/no.jsonl" in message
    assert "  - b1: dataset Maxwell-Jia/AIME_2024 is not in the local cache, and http://127.0.0.1:9" in message
    assert "cannot be reached" in message
    assert "b2" not in message
    assert "evaluation.allow_missing=true" in message
    assert f"{tmp_path}/cache" in message


def test_what_is_only_unavailable_says_nothing_of_data() -> None:
    with pytest.raises(UserError, match=r"without an overall score\.$"):
        check_all(config("testbed_arena", livebench="to come"))


def test_missing_is_forgiven_where_allowed() -> None:
    check_all(config("aime24", allow_missing=True, livebench="to come"))


def test_an_unknown_task_is_never_forgiven() -> None:
    with pytest.raises(UserError, match="no lm-eval task or group is named 'nope'"):
        check_all(config("nope", allow_missing=True))


def test_data_files_that_exist_are_enough(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}")
    found = task(tmp_path, "found", f"dataset_path: json\ndataset_kwargs: {{data_files: {tmp_path}/*.jsonl}}")
    assert missing(config(found)) == {}


def test_a_folder_of_the_datasets_name_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Maxwell-Jia" / "AIME_2024").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert missing(config("aime24")) == {}


def test_the_cache_is_found_by_its_own_spelling_and_by_config(cache: Path) -> None:
    """`datasets` keeps TIGER-Lab/MMLU-Pro under TIGER-Lab___mmlu-pro/<config>/<version>/<hash>."""
    for name in ("TIGER-Lab___mmlu-pro/default", "cais___mmlu/anatomy"):
        folder = cache / name / "0.0.0" / "abc"
        folder.mkdir(parents=True)
        (folder / "dataset_info.json").write_text("{}")
    found = missing(config("mmlu_pro", "mmlu_anatomy", "mmlu_virology"))
    assert list(found) == ["b2"]
    assert "cais/mmlu (virology) is not in the local cache" in found["b2"]


def test_a_hub_that_has_the_data_is_enough_and_a_refusal_is_told(tmp_path: Path, asked: list[str]) -> None:
    known = task(tmp_path, "known", "dataset_path: known/data")
    other = task(tmp_path, "other", "dataset_path: other/data")
    found = missing(config(known, other, known))
    assert list(found) == ["b1"]
    assert "refuses it" in found["b1"]
    assert len(asked) == 2  # each dataset once


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"])
def test_an_offline_switch_is_respected(name: str, monkeypatch: pytest.MonkeyPatch, asked: list[str]) -> None:
    monkeypatch.setenv(name, "1")
    assert "the hub is switched off" in missing(config("mmlu"))["b0"]
    assert "and 56 more of its datasets" in missing(config("mmlu"))["b0"]
    assert asked == []


def test_what_a_benchmark_needs_is_asked_for_before_its_data() -> None:
    arena = config("testbed_arena").benchmarks["b0"].model_copy(update={"needs": ("judge",)})
    judged = config("testbed_arena").model_copy(update={"benchmarks": {"arena": arena}})
    assert "it needs a judge: judge=openai" in missing(judged)["arena"]
    assert missing_benchmarks(judged, "gpt-4.1") == {}


def test_a_folder_without_the_benchmarks_files_is_told_with_the_way_to_get_them(tmp_path: Path) -> None:
    math = config("testbed_arena").benchmarks["b0"].model_copy(update={"data": "math500"})
    local = config("testbed_arena").model_copy(update={"benchmarks": {"math": math}, "data_dir": str(tmp_path)})
    fault = missing(local)["math"]
    assert "math500" in fault
    assert f"python -m bai_sweep.evaluation fetch benchmarks=math500 data_dir={tmp_path}" in fault


def test_a_cache_that_cannot_be_written_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    blocked = config("testbed_arena").model_copy(update={"cache_dir": str(tmp_path / "file" / "cache")})
    with pytest.raises(UserError, match=r"evaluation\.cache_dir=.*file/cache, which cannot be written"):
        check_all(blocked)


def test_livebench_as_a_group_needs_every_task_also_of_partial_data(tmp_path: Path) -> None:
    """Its check forgives absent tasks, for benchmarks of single tasks; the group would fail later."""
    question = {
        "question_id": "q",
        "category": "reasoning",
        "task": "spatial",
        "turns": ["Where?"],
        "ground_truth": "here",
        "livebench_release_date": "2024-07-26",
        "livebench_removal_date": "",
    }
    file = tmp_path / "livebench" / "reasoning" / "spatial" / "question.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(question) + "\n")
    plain = config("testbed_arena").benchmarks["b0"]
    both = {
        "whole": plain.model_copy(update={"task": "livebench", "data": "livebench"}),
        "single": plain.model_copy(update={"task": "livebench_spatial", "data": "livebench"}),
    }
    partial = config("testbed_arena").model_copy(
        update={"benchmarks": both, "data_dir": str(tmp_path), "partial_data": True}
    )
    found = missing(partial)
    assert list(found) == ["whole"]
    assert "has no questions of livebench_" in found["whole"]
    assert "livebench_coding_completion" in found["whole"]
    assert "each task that is there (livebench_spatial)" in found["whole"]
