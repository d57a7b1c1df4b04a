"""`compare`: paired differences between evaluations on the same items."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from bai_sweep.config import ConfigError
from bai_sweep.evaluation._samples import TABLE
from bai_sweep.records import UserError
from bai_sweep.statistics import Clusters, Difference, grouped, holm, paired_difference


@dataclass(frozen=True)
class Comparison:
    """Two evaluations on one benchmark: the first less the second, in points.

    Args:
        shared: Items that both have, of `items` in the larger of the two.
        adjusted: The p-value after Holm's correction for all comparisons made together.
    """

    benchmark: str
    one: str
    other: str
    difference: Difference
    shared: int
    items: int
    adjusted: float


Key = tuple[str, str]  # task, id
Row = Mapping[str, Any]


def compare(arguments: Sequence[str]) -> None:
    """Prints the table of differences.

    Raises:
        ConfigError: Fewer than two folders.
        UserError: A folder holds no evaluation, or two have no items in common.
    """
    if len(arguments) < 2:
        raise ConfigError("compare takes two folders at least: trials, or those that `run` wrote")
    from rich.table import Table

    from bai_sweep.evaluation.command._console import output

    comparisons = compared([Path(folder) for folder in arguments])
    table = Table()
    for column in ("benchmark", "models", "difference", "95 % interval", "p", "p (Holm)", "items"):
        table.add_column(column, overflow="fold", no_wrap=column != "models")
    for c in comparisons:
        d = c.difference
        items = str(c.shared) if c.shared == c.items else f"{c.shared} of {c.items}"
        interval = f"{d.low:+.1f} to {d.high:+.1f}"
        table.add_row(
            c.benchmark, f"{c.one} - {c.other}", f"{d.value:+.2f} ± {d.standard_error:.2f}", interval,
            f"{d.p_value:.4f}", f"{c.adjusted:.4f}", items,
        )  # fmt: skip
    console = output()
    console.print(table)
    console.print(
        f"points; paired on the same items; p by permutation, two-sided; Holm corrects for all {len(comparisons)} "
        "comparisons of this table together. This is the noise of the items, not of training seeds."
    )


def compared(folders: Sequence[Path], *, resamples: int = 10_000, seed: int = 0) -> list[Comparison]:
    """Every pair of evaluations on every benchmark that both have.

    Raises:
        UserError: See `compare`.
    """
    tables = {str(folder): read_items(folder) for folder in folders}
    if len(tables) < len(folders):
        raise UserError(f"a comparison is between different folders; got {', '.join(map(str, folders))}")
    found: list[tuple[str, str, str, Difference, int, int]] = []
    for one, other in combinations(tables, 2):
        names = [name for name in tables[one] if name in tables[other]]
        if not names:
            raise UserError(f"a comparison needs a benchmark that both have; {one} and {other} have none in common")
        for name in names:
            first, second = tables[one][name], tables[other][name]
            shared = [key for key in first if key in second]
            pair = _shared(name, first, second, shared)
            difference = paired_difference(*pair, resamples=resamples, seed=seed)
            found.append((name, one, other, difference, len(shared), max(len(first), len(second))))
    adjusted = holm([entry[3].p_value for entry in found])
    return [Comparison(*entry, p) for entry, p in zip(found, adjusted, strict=True)]


def read_items(folder: Path) -> dict[str, dict[Key, Row]]:
    """The items of an evaluation by benchmark and (task, id).

    Raises:
        UserError: There is no table of items in the folder.
    """
    import pyarrow.parquet as pq

    paths = [place / TABLE for place in (folder, folder / "samples") if (place / TABLE).is_file()]
    if not paths:
        raise UserError(f"an evaluation has a table of its items; there is no {TABLE} in {folder} or {folder}/samples")
    columns = ["benchmark", "task", "id", "cluster", "own_weight", "share", "points"]
    try:
        rows = pq.read_table(paths[0], columns=columns).to_pylist()
    except (OSError, ValueError) as error:
        raise UserError(f"{paths[0]} cannot be read: {error}") from error
    tables: dict[str, dict[Key, Row]] = {}
    for row in rows:
        tables.setdefault(row["benchmark"], {})[row["task"], row["id"]] = row
    return tables


def _shared(
    benchmark: str, first: Mapping[Key, Row], second: Mapping[Key, Row], shared: Sequence[Key]
) -> tuple[Clusters, Clusters]:
    """Both over the shared items: each with its own weights, and the shares of the one that ran fewer items.

    Those say what an item stands for where only these were run.
    """
    clusters = [first[key]["cluster"] for key in shared]
    if (apart := len(set(clusters))) < 2:
        raise UserError(
            f"a paired comparison needs two items at least that were drawn apart; benchmark {benchmark} has "
            f"{len(shared)} in common, in {apart} clusters"
        )
    fewer = first if len(first) <= len(second) else second
    pair = []
    for table in (first, second):
        weights = [table[key]["own_weight"] * fewer[key]["share"] for key in shared]
        if not (math.isfinite(sum(weights)) and sum(weights) > 0.0):
            raise UserError(f"a mean needs an item that counts; of benchmark {benchmark} none in common does")
        pair.append(grouped([table[key]["points"] for key in shared], weights, clusters))
    return pair[0], pair[1]
