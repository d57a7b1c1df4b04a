"""`run`: what it leaves behind, and that neither a second call nor one after a Ctrl-C asks a model twice."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bai_sweep.evaluation.command._progress import Progress
from tests.integration.evaluation.benchmark_files import Files
from tests.unit.evaluation.evaluation_command_cases import MODEL, QUICK, asked, command, everything_in, only, report_in

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch
ITEMS = 4


def run_in(folder: Path, *more: str) -> tuple[str, ...]:
    return ("run", MODEL, *QUICK, f"limit={ITEMS}", f"results_dir={folder}", *more)


def test_a_run_leaves_a_report_and_its_items(tmp_path: Path, capsys: Capture) -> None:
    ended = command(capsys, *run_in(tmp_path))
    assert ended.code == 0
    folder = tmp_path / "evaluation/testbed_instruct"
    report = report_in(tmp_path)
    assert report["model"] == "testbed://instruct"
    assert report["settings"]["evaluation"]["name"] == "testbed"
    assert report["settings"]["evaluation"]["benchmarks"]["arena"]["limit"] == ITEMS
    assert set(report["packages"]) == {"bai-sweep", "lm-eval", "torch", "transformers"}
    assert report["judge"] is None
    assert report["missing"] == {}
    scores = report["scores"]
    assert [(s["benchmark"], s["n"]) for s in scores] == [("knowledge", 4), ("arithmetic", 4), ("arena", 4)]
    assert report["overall"] == pytest.approx(sum(s["value"] for s in scores) / 3, abs=1e-12)
    expected = math.sqrt(sum(s["stderr"] ** 2 for s in scores)) / 3
    assert report["overall_stderr"] == pytest.approx(expected, abs=1e-12)

    rows = pq.read_table(folder / "samples/items.parquet").to_pylist()
    assert len({(row["benchmark"], row["task"], row["id"]) for row in rows}) == len(rows) == 3 * ITEMS
    for score in scores:
        points = [row["points"] for row in rows if row["benchmark"] == score["benchmark"]]
        assert score["value"] == pytest.approx(sum(points) / ITEMS, abs=1e-12)
        lines = (folder / f"samples/{score['benchmark']}.jsonl").read_text().splitlines()
        assert [json.loads(line)["points"] for line in lines] == points
    assert not list(tmp_path.rglob("*.partial"))

    for score in scores:
        (line,) = [line for line in ended.out.splitlines() if f" {score['benchmark']} " in line]
        assert f" {score['value']:.1f} " in line
    assert f"report    {folder / 'report.json'}" in ended.out
    assert ended.err.splitlines()[0] == "loading testbed://instruct"
    assert ended.err.splitlines()[-1] == "12/12 items"
    assert ended.err.count("12/12 items") == 1


def test_a_second_run_asks_nothing_and_says_the_same(tmp_path: Path, capsys: Capture, monkeypatch: Patch) -> None:
    with asked(monkeypatch) as rows:
        first = command(capsys, *run_in(tmp_path))
    assert sum(rows) >= 3 * ITEMS
    report, items = report_in(tmp_path), everything_in(tmp_path / "evaluation/testbed_instruct/samples")
    with asked(monkeypatch) as rows:
        second = command(capsys, *run_in(tmp_path))
    assert rows == []
    assert second.out == first.out
    assert report_in(tmp_path) == report
    assert everything_in(tmp_path / "evaluation/testbed_instruct/samples") == items


def test_more_items_ask_only_for_the_others(tmp_path: Path, capsys: Capture, monkeypatch: Patch) -> None:
    arithmetic = ("~evaluation.benchmarks.knowledge", "~evaluation.benchmarks.arena", "evaluation.batch_tokens=64")
    assert command(capsys, *run_in(tmp_path, *arithmetic)).code == 0
    with asked(monkeypatch) as more:
        assert command(capsys, *run_in(tmp_path, *arithmetic), f"limit={ITEMS + 2}").code == 0
    with asked(monkeypatch) as whole:
        assert command(capsys, *run_in(tmp_path / "other", *arithmetic), f"limit={ITEMS + 2}").code == 0
    assert 0 < sum(more) < sum(whole)
    assert report_in(tmp_path / "evaluation")["scores"] == report_in(tmp_path / "other/evaluation")["scores"]


def test_an_interrupted_run_ends_with_130_and_goes_on(tmp_path: Path, capsys: Capture, monkeypatch: Patch) -> None:
    """Stopped within the second benchmark, by a Ctrl-C between two batches."""
    small = ("evaluation.batch_tokens=64",)

    def stop(display: Progress, done: int, total: int) -> None:
        if done > ITEMS:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, asked(monkeypatch) as before:
        patch.setattr(Progress, "advance", stop)
        ended = command(capsys, *run_in(tmp_path, *small))
    assert (ended.code, ended.out) == (130, "")
    assert ended.err.splitlines()[-1] == ("stopped; what was answered is kept: the same command goes on from there")
    assert not list(tmp_path.glob("**/report.json"))
    with asked(monkeypatch) as after:
        assert command(capsys, *run_in(tmp_path, *small)).code == 0
    with asked(monkeypatch) as whole:
        assert command(capsys, *run_in(tmp_path / "other", *small)).code == 0
    assert sum(before) > 0
    assert 0 < sum(after) < sum(whole)
    assert report_in(tmp_path / "evaluation")["scores"] == report_in(tmp_path / "other/evaluation")["scores"]


def test_a_figure_that_is_no_number_is_null(tmp_path: Path, capsys: Capture) -> None:
    """One item has no standard error, no item of level 5 no accuracy, and JSON no NaN."""
    data = (f"evaluation.data_dir={Files(tmp_path / 'data').root}", "evaluation.partial_data=true")
    math = "math:{task:math,metric:exact_match,data:math"
    ended = command(capsys, *run_in(tmp_path / "out"), *only(math), *data, "limit=1")
    assert ended.code == 0
    report = report_in(tmp_path)
    (score,) = report["scores"]
    assert (score["value"], score["stderr"]) == (0.0, None)
    assert score["figures"]["level_1"] == 0.0
    assert "level_5" not in score["figures"]
    assert (report["overall"], report["overall_stderr"]) == (0.0, None)


def test_a_missing_benchmark_leaves_no_overall_score(tmp_path: Path, capsys: Capture) -> None:
    ended = command(
        capsys,
        *run_in(tmp_path, "evaluation.allow_missing=true", "+evaluation.unavailable.gpqa=no licence"),
        "~evaluation.benchmarks.arithmetic",
        "~evaluation.benchmarks.arena",
    )
    assert ended.code == 0
    report = report_in(tmp_path)
    assert report["missing"] == {"gpqa": "no licence"}
    assert (report["overall"], report["overall_stderr"]) == (None, None)
    assert "no overall score: a benchmark is missing" in ended.out
    assert "no licence" in ended.out


def test_a_benchmark_that_fails_is_named(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "bad.yaml").write_text(
        "task: bad\ndataset_path: json\n"
        f"dataset_kwargs: {{data_files: {{test: {tmp_path / 'rows.jsonl'}}}, cache_dir: {tmp_path / 'datasets'}}}\n"
        "test_split: test\noutput_type: generate_until\ndoc_to_text: question\ndoc_to_target: question\n"
        "process_results: !function failing.process_results\n"
        "generation_kwargs: {until: [], max_gen_toks: 4, do_sample: false}\n"
        "metric_list: [{metric: points, aggregation: mean, higher_is_better: true}]\n"
    )
    (tmp_path / "rows.jsonl").write_text('{"question": "2 + 2"}\n')
    (tmp_path / "failing.py").write_text("def process_results(doc, results):\n    return {'points': 1 / 0}\n")
    ended = command(
        capsys,
        *run_in(tmp_path / "out", "evaluation=none"),
        f"+evaluation.benchmarks.bad={{task:{tmp_path / 'bad.yaml'},metric:points,filter:none,chat_template:true,"
        "num_fewshot:0,limit:null}",
    )
    assert (ended.code, ended.out) == (1, "")
    assert "benchmark bad failed: ZeroDivisionError: division by zero" in ended.err
    assert "what was answered is kept" in ended.err
    assert not list(tmp_path.glob("out/**/report.json"))
