"""`evaluate`, whole, on local tasks."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from bai_sweep import evaluation
from bai_sweep.config import EvaluationConfig
from bai_sweep.records import EvalReport, UserError

Configure = Callable[..., EvaluationConfig]
GEN = {"metric": "exact_match", "chat_template": True}


@pytest.fixture
def run(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> Callable[..., EvalReport]:
    def call(config: EvaluationConfig, **kwargs: Any) -> EvalReport:
        settings = {"device": torch.device("cpu"), "on_progress": lambda done, total: None} | kwargs
        return evaluation.evaluate(model, tokenizer, config, **settings)

    return call


def test_a_report_whole(
    run: Callable[..., EvalReport],
    configure: Configure,
    tmp_path: Path,
    model: LlamaForCausalLM,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Scores, samples, progress, silence; mode and random state as before; the same numbers a second time."""
    config = configure(both={}, gen={**GEN, "limit": 10}, sampled={**GEN, "limit": 6})
    progress: list[tuple[int, int]] = []
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002
    model.train()

    report = run(config, on_progress=lambda *step: progress.append(step), samples_dir=tmp_path)

    assert model.training
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before  # noqa: NPY002
    assert capsys.readouterr() == ("", "")
    assert [(s.benchmark, s.n, s.metric) for s in report.scores] == [
        ("both", 37, "acc,none"),
        ("gen", 10, "exact_match,none"),
        ("sampled", 6, "exact_match,none"),
    ]
    assert report.missing == {}
    assert progress[0] == (0, 53)
    assert progress[-1] == (53, 53)
    assert progress == sorted(progress)
    for score in report.scores:
        lines = [json.loads(line) for line in (tmp_path / f"{score.benchmark}.jsonl").read_text().splitlines()]
        assert tuple(line["points"] for line in lines) == score.items
    assert run(config) == report


@pytest.mark.parametrize("name", ["sampled", "drawn"])  # from our generator, and from Python's global one
def test_scores_do_not_depend_on_the_other_benchmarks(
    name: str, run: Callable[..., EvalReport], configure: Configure
) -> None:
    alone = run(configure(**{name: GEN})).scores[0]
    assert len(set(alone.items)) > 1
    random.random()
    assert run(configure(gen=GEN, **{name: GEN})).scores[1] == alone


def test_shots_change_the_prompt(run: Callable[..., EvalReport], configure: Configure, tmp_path: Path) -> None:
    def prompt(name: str, **settings: Any) -> str:
        run(configure(mc={"limit": 1, **settings}), samples_dir=tmp_path / name)
        return str(json.loads((tmp_path / name / "mc.jsonl").read_text())["prompt"])

    none, three = prompt("none"), prompt("three", num_fewshot=3)
    assert three.endswith(none)
    assert three.count("\n\n") == 3


def test_thoughts_are_not_scored(run: Callable[..., EvalReport], configure: Configure, tmp_path: Path) -> None:
    """Every prompt opens a thought; some responses close it, some end in it, most are cut off in it."""
    run(configure(thinking={**GEN, "chat_template": False}, think_end="</think>"), samples_dir=tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "thinking.jsonl").read_text().splitlines()]
    pairs = [(line["responses"][0], line["answers"][0]) for line in lines]
    cut_off = [pair for pair in pairs if "</think>" not in pair[0] and len(pair[0].split()) == 16]
    closed = [pair for pair in pairs if "</think>" in pair[0]]
    assert len(cut_off) > 5
    assert all(answer == "" for _, answer in cut_off)
    assert closed
    for response, answer in closed:
        assert answer == response.rpartition("</think>")[2].lstrip().split("q")[0].split("x y")[0]
    assert any("q" in response for response, _ in pairs)  # a stop string in a thought ends nothing


def test_a_failing_benchmark_fails_the_evaluation(run: Callable[..., EvalReport], configure: Configure) -> None:
    with pytest.raises(evaluation.BenchmarkError, match="benchmark broken failed: ZeroDivisionError: a broken task"):
        run(configure(mc={"limit": 2}, broken=GEN))


def test_with_allow_missing_it_is_left_out_with_the_reason(
    run: Callable[..., EvalReport], configure: Configure
) -> None:
    report = run(configure(broken=GEN, mc={"limit": 2}, aime={"task": "aime24"}, allow_missing=True))
    assert [score.benchmark for score in report.scores] == ["mc"]
    assert report.missing["broken"] == "failed: ZeroDivisionError: a broken task"
    assert "is not in the local cache" in report.missing["aime"]
    assert np.isnan(report.overall)


def test_unknown_generation_settings_are_found_before_anything_runs(
    run: Callable[..., EvalReport], configure: Configure
) -> None:
    progress: list[tuple[int, int]] = []
    with pytest.raises(UserError, match=r"benchmark beams: generation_kwargs may hold .* got num_beams"):
        run(configure(mc={}, beams=GEN), on_progress=lambda *step: progress.append(step))
    assert progress == []


def test_a_metric_without_points_is_refused(run: Callable[..., EvalReport], configure: Configure) -> None:
    with pytest.raises(UserError, match=r"benchmark gen: a score needs a value from 0 to 1 .* task gen has \(1, 2\)"):
        run(configure(gen={**GEN, "metric": "pooled", "limit": 3}))


def test_missing_data_stops_before_the_model_is_touched(run: Callable[..., EvalReport], configure: Configure) -> None:
    with pytest.raises(UserError, match="1 of 1 benchmarks cannot run"):
        run(configure(aime={"task": "aime24"}), device=torch.device("meta"))


def test_no_benchmarks_need_no_lm_eval(run: Callable[..., EvalReport], configure: Configure) -> None:
    assert run(configure()) == EvalReport()


def test_a_tokenizer_without_a_chat_template_is_told(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, configure: Configure
) -> None:
    bare = type(tokenizer)(tokenizer_object=tokenizer.backend_tokenizer, eos_token="<eos>", pad_token="<pad>")
    with pytest.raises(UserError, match="benchmark gen: the tokenizer has no chat template"):
        evaluation.evaluate(
            model, bare, configure(gen=GEN), device=torch.device("cpu"), on_progress=lambda done, total: None
        )


def test_a_repeated_evaluation_asks_the_model_nothing(
    run: Callable[..., EvalReport], configure: Configure, model: LlamaForCausalLM
) -> None:
    config = configure(both={}, gen=GEN, sampled=GEN)
    first = run(config)

    def refuse(*_: Any) -> None:
        raise AssertionError("the model was asked again")

    hook = model.register_forward_pre_hook(refuse)
    inner = model.model.register_forward_pre_hook(refuse)
    try:
        assert run(config) == first
    finally:
        hook.remove()
        inner.remove()


def test_a_broken_off_evaluation_goes_on_with_the_same_answers(
    run: Callable[..., EvalReport], configure: Configure, model: LlamaForCausalLM, tmp_path: Path
) -> None:
    """Stopped after some batches of the second benchmark: what was answered is not asked again."""
    config = configure(both={}, sampled=GEN)
    config = config.model_copy(update={"batch_tokens": 128})
    whole = run(config.model_copy(update={"cache_dir": str(tmp_path / "other")}))

    def stop(done: int, total: int) -> None:
        if done > 45:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, on_progress=stop)
    fed: list[int] = []
    hook = model.register_forward_pre_hook(
        lambda module, args, kwargs: fed.append(kwargs["input_ids"].shape[0]), with_kwargs=True
    )
    try:
        assert run(config) == whole
        again = len(fed)
        fed.clear()
        run(config.model_copy(update={"cache_dir": str(tmp_path / "third")}))
    finally:
        hook.remove()
    assert 0 < again < 0.8 * len(fed)


def test_a_sampled_answer_does_not_depend_on_how_many_others_are_asked(
    run: Callable[..., EvalReport], configure: Configure, tmp_path: Path
) -> None:
    def answers(limit: int) -> list[list[str]]:
        folder = tmp_path / str(limit)
        config = configure(sampled={**GEN, "limit": limit}).model_copy(update={"cache_dir": str(folder / "cache")})
        run(config, samples_dir=folder)
        return [json.loads(line)["responses"] for line in (folder / "sampled.jsonl").read_text().splitlines()]

    assert answers(5) == answers(20)[:5]


def test_a_subset_is_part_of_the_whole_and_tells_the_error_it_adds(
    run: Callable[..., EvalReport], configure: Configure, tmp_path: Path
) -> None:
    (whole,) = run(configure(both={}), samples_dir=tmp_path / "whole").scores
    (part,) = run(configure(both={}, subset=15), samples_dir=tmp_path / "part").scores
    assert part.n == 15
    assert part.figures["subset_stderr"] > 0.0
    assert "subset_stderr" not in whole.figures

    def points(folder: str) -> dict[tuple[str, int], float]:
        lines = map(json.loads, (tmp_path / folder / "both.jsonl").read_text().splitlines())
        return {(line["task"], line["doc_id"]): line["points"] for line in lines}

    assert points("part").items() < points("whole").items()


def test_temperature_and_repeats_are_the_configurations(
    run: Callable[..., EvalReport], configure: Configure, tmp_path: Path
) -> None:
    (_, sampled) = run(
        configure(gen={**GEN, "limit": 5}, sampled={**GEN, "limit": 5, "temperature": 0.0}), samples_dir=tmp_path
    ).scores
    lines = [
        [json.loads(line)["responses"] for line in (tmp_path / f"{n}.jsonl").read_text().splitlines()]
        for n in ("gen", "sampled")
    ]
    assert lines[0] == lines[1]
    assert sampled.n == 5
    with pytest.raises(UserError, match=r"benchmark mc: temperature: only for tasks that generate"):
        run(configure(mc={"temperature": 0.5}))


def test_what_ends_an_answer_is_part_of_its_key(
    run: Callable[..., EvalReport], configure: Configure, model: LlamaForCausalLM, tmp_path: Path
) -> None:
    """The same weights with another end token: an answer that was kept under the first would be too long."""
    config = configure(gen={**GEN, "limit": 8})

    def lengths(name: str) -> list[int]:
        run(config, samples_dir=tmp_path / name)
        lines = (tmp_path / name / "gen.jsonl").read_text().splitlines()
        return [len(json.loads(line)["responses"][0].split()) for line in lines]

    before = lengths("before")
    ends = model.generation_config.eos_token_id
    model.generation_config.eos_token_id = list(range(46))  # every token
    try:
        assert lengths("after") == [0] * 8
    finally:
        model.generation_config.eos_token_id = ends
    assert sum(before) > 8


def test_a_wrong_metric_is_found_before_anything_is_asked(
    run: Callable[..., EvalReport], configure: Configure
) -> None:
    asked: list[tuple[int, int]] = []
    for wrong in ({"metric": "exact_macth"}, {"filter": "strict"}):
        with pytest.raises(
            UserError, match="benchmark gen: task gen has the metrics exact_match, pooled and the filters"
        ):
            run(configure(gen={**GEN, **wrong}), on_progress=lambda *step: asked.append(step))
    assert asked == []


def test_greedy_answers_are_not_asked_several_times(run: Callable[..., EvalReport], configure: Configure) -> None:
    with pytest.raises(UserError, match="benchmark gen: greedy responses are all alike: repeats=4"):
        run(configure(gen={**GEN, "repeats": 4}))


def test_finished_benchmarks_keep_their_items_where_a_later_one_fails(
    run: Callable[..., EvalReport], configure: Configure, tmp_path: Path
) -> None:
    with pytest.raises(evaluation.BenchmarkError):
        run(configure(mc={"limit": 4}, broken=GEN), samples_dir=tmp_path)
    assert pq.read_table(tmp_path / "items.parquet").num_rows == 4
    record = json.loads((tmp_path / "evaluation.json").read_text())
    assert record["benchmarks"]["mc"]["tasks"]["mc"]["shots"] == 0
    assert record["settings"]["name"] == "local"
