"""Scores and standard errors against hand computation."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bai_sweep.config import Benchmark
from bai_sweep.evaluation._scores import save_samples, score_of
from bai_sweep.records import UserError

BENCHMARK = Benchmark(task="t", metric="acc", filter="none", chat_template=False, num_fewshot=None, limit=None)


def results(aggregate: float | None = None, **tasks: list[Any]) -> dict[str, Any]:
    """What lm-eval returns, as far as scores need it; every document also appears under a second filter."""
    samples = {
        name: [
            {"doc_id": i, "filter": f, "acc": v if f == "none" else 0.0, "arguments": [("p" * 3000 + str(i),)]}
            | {"resps": [["r"]], "filtered_resps": ["r"], "target": "t"}
            for f in ("strict", "none")
            for i, v in enumerate(values)
        ]
        for name, values in tasks.items()
    }
    means = {
        name: {"alias": name, "acc,none": float(np.mean(v)) if aggregate is None else aggregate, "acc,strict": 0.0}
        for name, v in tasks.items()
    }
    return {"samples": samples, "results": means}


def test_points_and_standard_error_over_items() -> None:
    score = score_of("b", BENCHMARK, results(t=[1.0, 0.0, 0.5, 1.0]))
    # mean 0.625; squared deviations 0.140625 + 0.390625 + 0.015625 + 0.140625 = 0.6875; s^2 = 0.6875 / 3
    assert score.items == (100.0, 0.0, 50.0, 100.0)
    assert score.value == pytest.approx(62.5, abs=1e-12)
    assert score.stderr == pytest.approx(100.0 * math.sqrt(0.6875 / 3 / 4), abs=1e-12)
    assert (score.n, score.metric, score.benchmark) == (4, "acc,none", "b")


def test_a_group_is_weighted_by_size_and_keeps_document_order() -> None:
    score = score_of("b", BENCHMARK, results(one=[1, 0, 0], two=[1.0]))
    assert score.items == (100.0, 0.0, 0.0, 100.0)
    assert score.value == 50.0  # not (33.3 + 100) / 2
    assert score.stderr == pytest.approx(100.0 * math.sqrt(4 * 0.25 / 3 / 4), abs=1e-12)


def test_one_item_has_no_standard_error() -> None:
    assert math.isnan(score_of("b", BENCHMARK, results(t=[1.0])).stderr)


def test_numpy_and_bool_values_count() -> None:
    assert score_of("b", BENCHMARK, results(0.5, t=[np.float32(1.0), np.int64(0), True, False])).value == 50.0


def test_an_unknown_metric_names_those_there_are() -> None:
    wrong = BENCHMARK.model_copy(update={"metric": "exact_match"})
    with pytest.raises(UserError, match=r"task t has the metrics acc,none, acc,strict .* got 'exact_match,none'"):
        score_of("b", wrong, results(t=[1.0]))


@pytest.mark.parametrize("bad", [(1, 0.5), 1.5, float("nan"), None])
def test_a_value_that_is_no_fraction_is_an_error(bad: object) -> None:
    with pytest.raises(UserError, match="a value from 0 to 1 for every item"):
        score_of("b", BENCHMARK, results(0.5, t=[1.0, bad]))


def test_an_aggregate_that_is_not_the_mean_is_an_error() -> None:
    with pytest.raises(UserError, match=r"aggregated to 0\.9 where the mean is 0\.5"):
        score_of("b", BENCHMARK, results(0.9, t=[1.0, 0.0]))


def test_samples_hold_the_whole_response_and_the_prompts_end(tmp_path: Path) -> None:
    path = tmp_path / "new" / "b.jsonl"
    save_samples(path, BENCHMARK, results(t=[1.0, 0.0]), {("t", 0): ["<think>x</think>r"]})
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [(line["doc_id"], line["points"]) for line in lines] == [(0, 100.0), (1, 0.0)]
    assert lines[0]["responses"] == ["<think>x</think>r"]
    assert lines[1]["responses"] == [["r"]]
    assert len(lines[0]["prompt"]) == 2000
    assert lines[0]["prompt"].endswith("p0")
