"""What is kept of a benchmark's items: a table for comparisons, and the texts for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bai_sweep.evaluation._items import ItemRecord

PROMPT_TAIL = 2000  # characters kept of each prompt in the samples file
TABLE = "items.parquet"
RECORD = "evaluation.json"

Raw = Mapping[tuple[str, int], Sequence[str]]


def save_samples(path: Path, items: Sequence[ItemRecord], raw: Raw) -> None:
    """Writes one JSON line an item: task, document, end of the prompt, whole responses, answers, target, points.

    Args:
        path: Of the file; it is whole when it appears there.
        items: In document order, those of a task together.
        raw: The whole responses by task and by place among the task's documents that were run.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    place: dict[str, int] = {}
    with partial.open("w", encoding="utf-8") as file:
        for item in items:
            nth = place[item.task] = place.get(item.task, -1) + 1
            line = {
                "task": item.task,
                "doc_id": item.doc_id,
                "id": item.id,
                "prompt": str(item.sample["arguments"][0][0])[-PROMPT_TAIL:],
                "responses": list(raw.get((item.task, nth), ())) or item.sample["resps"],
                "answers": item.sample["filtered_resps"],
                "target": item.sample["target"],
                "points": item.points,
                "detail": dict(item.detail),
            }
            file.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
    partial.replace(path)


def save_table(path: Path, benchmarks: Mapping[str, Sequence[ItemRecord]]) -> None:
    """Writes every item of every benchmark as one Parquet table, which two trials are compared from.

    Columns: benchmark, task, id (together the key), doc_id, cluster, own_weight and share (their product is the item's
    weight in the score), points (0 to 100), detail (JSON).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = [
        {
            "benchmark": name,
            "task": item.task,
            "id": item.id,
            "doc_id": item.doc_id,
            "cluster": item.cluster,
            "own_weight": item.own_weight,
            "share": item.share,
            "points": item.points,
            "detail": json.dumps(dict(item.detail), ensure_ascii=False, default=str),
        }
        for name, items in benchmarks.items()
        for item in items
    ]
    schema = pa.schema(
        [(name, pa.string()) for name in ("benchmark", "task", "id")]
        + [("doc_id", pa.int64()), ("cluster", pa.string())]
        + [(name, pa.float64()) for name in ("own_weight", "share", "points")]
        + [("detail", pa.string())]
    )
    partial = path.with_suffix(".partial")
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), partial)
    partial.replace(path)


def save_record(path: Path, record: Mapping[str, Any]) -> None:
    """Writes what is needed to repeat an evaluation as JSON; it is whole when it appears at `path`."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(record, indent=1, default=str), encoding="utf-8")
    partial.replace(path)
