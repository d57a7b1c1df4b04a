"""Items, scores and standard errors against hand computation."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from lm_eval.api.group import Group
from lm_eval.config.group import AggMetricConfig

from bai_sweep.config import Benchmark
from bai_sweep.evaluation._items import ItemRecord, items_of
from bai_sweep.evaluation._samples import save_samples, save_table
from bai_sweep.evaluation._scores import figures_of, score_of
from bai_sweep.records import Score, UserError
from bai_sweep.scoring import Item

BENCHMARK = Benchmark(task="t", metric="acc", filter="none", chat_template=False, num_fewshot=None, limit=None)


def results(
    aggregate: float | None = None, docs: Mapping[int, Any] | None = None, **tasks: list[Any]
) -> dict[str, Any]:
    """What lm-eval returns, as far as scores need it; every document also appears under a second filter."""
    samples = {
        name: [
            {"doc_id": i, "filter": f, "acc": v if f == "none" else 0.0, "arguments": [("p" * 3000 + str(i),)]}
            | {
                "resps": [["r"]],
                "filtered_resps": ["r"],
                "target": "t",
                "doc": (docs or {}).get(i, {"q": f"{name}{i}"}),
            }
            for f in ("strict", "none")
            for i, v in enumerate(values)
        ]
        for name, values in tasks.items()
    }
    means = {
        name: {
            "alias": name,
            "acc,none": _mean(values) if aggregate is None else aggregate,
            "acc,strict": 0.0,
            "half,none": 0.5,
            "acc_stderr,none": 0.1,
        }
        for name, values in tasks.items()
    }
    return {"samples": samples, "results": means}


def _mean(values: list[Any]) -> float:
    settled = [v.result() if isinstance(v, Future) else v for v in values]
    items = [v if isinstance(v, Item) else Item(float(v)) for v in settled]
    return sum(i.weight * i.value for i in items) / sum(i.weight for i in items)


def scored(results: dict[str, Any], loaded: Mapping[str, Any] | None = None) -> Score:
    items = items_of(BENCHMARK, results, loaded or {})
    return score_of("b", BENCHMARK, items, figures_of(BENCHMARK, results, loaded or {}, items))


def test_points_and_standard_error_over_items() -> None:
    score = scored(results(t=[1.0, 0.0, 0.5, 1.0]))
    # mean 0.625; squared deviations 0.140625 + 0.390625 + 0.015625 + 0.140625 = 0.6875; s^2 = 0.6875 / 3
    assert score.items == (100.0, 0.0, 50.0, 100.0)
    assert score.value == pytest.approx(62.5, abs=1e-12)
    assert score.stderr == pytest.approx(100.0 * math.sqrt(0.6875 / 3 / 4), abs=1e-12)
    assert (score.n, score.metric, score.benchmark) == (4, "acc,none", "b")
    assert (score.weights, score.clusters) == ((), ())
    assert score.figures == {"half": 50.0}


def test_a_group_is_weighted_by_size_and_keeps_document_order() -> None:
    score = scored(results(one=[1, 0, 0], two=[1.0]))
    assert score.items == (100.0, 0.0, 0.0, 100.0)
    assert score.value == 50.0  # not (33.3 + 100) / 2
    assert score.stderr == pytest.approx(100.0 * math.sqrt(4 * 0.25 / 3 / 4), abs=1e-12)
    assert score.figures == {"one": pytest.approx(100 / 3), "two": 100.0, "one/half": 50.0, "two/half": 50.0}


@dataclass
class _Task:
    task_name: str


def _group(name: str, *children: Any, by_size: bool = False) -> Group:
    group = Group(name, aggregate_metric_list=[AggMetricConfig(metric="acc", weight_by_size=by_size)])
    for child in children:
        group.add(child)
    return group


def test_nested_groups_that_average_tasks_give_a_mean_of_means() -> None:
    """LiveBench's rule: (mean of tasks one and two) and task three count half each; items share their task's part."""
    inner = _group("inner", _Task("one"), _Task("two"))
    outer = _group("outer", inner, _Task("three"))
    loaded = {"groups": {"outer": outer, "inner": inner}}
    score = scored(results(one=[1, 0, 0, 0], two=[1.0, 1.0], three=[0.0, 1.0]), loaded)
    assert score.value == pytest.approx(100 * ((0.25 + 1.0) / 2 + 0.5) / 2)
    assert score.weights == pytest.approx((1 / 16,) * 4 + (1 / 8,) * 2 + (1 / 4,) * 2)
    assert score.figures["inner"] == pytest.approx(62.5)
    assert "outer" not in score.figures  # it is the score


def test_a_part_that_did_not_run_leaves_its_share_to_the_others() -> None:
    inner = _group("inner", _Task("one"), _Task("absent"))
    outer = _group("outer", inner, _Task("three"))
    score = scored(results(one=[1.0], three=[0.0, 0.0]), {"groups": {"outer": outer, "inner": inner}})
    assert score.value == pytest.approx(50.0)


def test_a_group_by_size_inside_one_by_tasks() -> None:
    inner = _group("inner", _Task("one"), _Task("two"), by_size=True)
    outer = _group("outer", inner, _Task("three"))
    score = scored(results(one=[1.0], two=[0.0, 0.0, 0.0], three=[0.0]), {"groups": {"outer": outer, "inner": inner}})
    assert score.value == pytest.approx(12.5)


def test_weights_and_what_is_still_being_scored() -> None:
    """A game won by >> counts as three battles: (3 * 1 + 1 * 0 + 2 * 0.5) / 6."""
    later: Future[Item] = Future()
    later.set_result(Item(1.0, 3.0, {"verdict": ">>"}))
    values = [later, Item(0.0, 1.0), Item(0.5, 2.0)]
    score = scored(results(t=values))
    assert score.value == pytest.approx(100 * 4 / 6)
    assert score.items == (100.0, 0.0, 50.0)
    assert score.weights == (3.0, 1.0, 2.0)
    assert items_of(BENCHMARK, results(t=values), {})[0].detail == {"verdict": ">>"}


def test_what_scoring_raised_is_not_taken_for_a_bad_value() -> None:
    failed: Future[Item] = Future()
    failed.set_exception(TypeError("broken scorer"))
    with pytest.raises(TypeError, match="broken scorer"):
        items_of(BENCHMARK, results(0.5, t=[failed]), {})


def test_clusters_come_from_the_documents() -> None:
    docs = {0: {"id": "a", "cluster": "x"}, 1: {"id": "b", "cluster": "x"}, 2: {"id": "c", "cluster": "y"}}
    score = scored(results(docs=docs, t=[1.0, 1.0, 0.0]))
    assert score.clusters == ("t/x", "t/x", "t/y")
    # influences: x 2 * (1 - 2/3) / 3 = 2/9, y -2/9
    assert score.stderr == pytest.approx(100 * math.sqrt(2 * 2 * (2 / 9) ** 2), abs=1e-10)


def test_a_subset_weighs_its_items_by_what_they_stand_for_and_tells_the_error_it_adds() -> None:
    """Two of four of one task and one of one of the other; s^2 of 1 and 0 is 1/2."""
    ran = results(one=[1.0, 0.0], two=[1.0])
    sizes = {"one": 4, "two": 1}
    items = items_of(BENCHMARK, ran, {}, sizes)
    score = score_of("b", BENCHMARK, items, {}, sizes)
    assert score.weights == (2.0, 2.0, 1.0)
    assert score.value == pytest.approx(60.0)
    assert score.figures["subset_stderr"] == pytest.approx(100 * math.sqrt((4 / 5) ** 2 * (1 - 2 / 4) * 0.5 / 2))


def test_one_item_has_no_standard_error() -> None:
    assert math.isnan(scored(results(t=[1.0])).stderr)


def test_numpy_and_bool_values_count() -> None:
    assert scored(results(0.5, t=[np.float32(1.0), np.int64(0), True, False])).value == 50.0


def test_an_unknown_metric_names_those_there_are() -> None:
    wrong = BENCHMARK.model_copy(update={"metric": "exact_match"})
    with pytest.raises(UserError, match=r"task t has the metrics acc,none, acc,strict.* got 'exact_match,none'"):
        items_of(wrong, results(t=[1.0]), {})


@pytest.mark.parametrize("bad", [(1, 0.5), 1.5, float("nan"), None, "1", Item(2.0)])
def test_a_value_that_is_no_fraction_is_an_error(bad: object) -> None:
    with pytest.raises(UserError, match="a value from 0 to 1 for every item"):
        items_of(BENCHMARK, results(0.5, t=[1.0, bad]), {})


def test_an_aggregate_that_is_not_the_mean_is_an_error() -> None:
    with pytest.raises(UserError, match=r"aggregated to 0\.9 where the mean is 0\.5"):
        items_of(BENCHMARK, results(0.9, t=[1.0, 0.0]), {})


def test_a_task_none_of_whose_items_counts_is_an_error() -> None:
    with pytest.raises(UserError, match="none of the 1 of task t has a weight"):
        items_of(BENCHMARK, results(0.0, t=[Item(0.0, 0.0)]), {})


def test_items_are_named_by_their_id_or_by_what_is_in_them() -> None:
    first, second = items_of(BENCHMARK, results(docs={0: {"id": 7}}, t=[1.0, 0.0]), {})
    assert first.id == "7"
    assert second.id == items_of(BENCHMARK, results(t=[1.0, 1.0]), {})[1].id
    assert len(second.id) == 16


def test_equal_ids_of_two_tasks_are_two_items_and_equal_documents_are_numbered() -> None:
    docs = {0: {"id": "a"}, 1: {"id": "a"}}
    items = items_of(BENCHMARK, results(docs=docs, one=[1.0, 0.0], two=[1.0, 0.0]), {})
    assert [item.id for item in items] == ["a", "a#2", "a", "a#2"]
    assert len({item.cluster for item in items}) == 4


def saved_items() -> tuple[ItemRecord, ...]:
    return items_of(BENCHMARK, results(docs={0: {"id": "x", "cluster": "c"}}, t=[Item(1.0, 2.0, {"a": "Ä"}), 0.0]), {})


def test_samples_hold_the_whole_response_and_the_prompts_end(tmp_path: Path) -> None:
    path = tmp_path / "new" / "b.jsonl"
    save_samples(path, saved_items(), {("t", 0): ["<think>x</think>r"]})
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [(line["doc_id"], line["points"]) for line in lines] == [(0, 100.0), (1, 0.0)]
    assert lines[0]["responses"] == ["<think>x</think>r"]
    assert lines[1]["responses"] == [["r"]]
    assert lines[0]["detail"] == {"a": "Ä"}
    assert len(lines[0]["prompt"]) == 2000
    assert lines[0]["prompt"].endswith("p0")
    assert [p.name for p in path.parent.iterdir()] == ["b.jsonl"]


def test_the_table_has_every_item_of_every_benchmark(tmp_path: Path) -> None:
    save_table(tmp_path / "items.parquet", {"b": saved_items(), "c": saved_items()[:1]})
    rows = pq.read_table(tmp_path / "items.parquet").to_pylist()
    assert [(row["benchmark"], row["task"], row["id"], row["points"]) for row in rows[::2]] == [
        ("b", "t", "x", 100.0),
        ("c", "t", "x", 100.0),
    ]
    assert (rows[0]["cluster"], rows[0]["own_weight"], json.loads(rows[0]["detail"])) == ("t/c", 2.0, {"a": "Ä"})
    assert rows[1]["cluster"] == f"t/{rows[1]['id']}"
