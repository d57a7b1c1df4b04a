"""`compare`: its numbers against NumPy, SciPy and a count of all permutations; which items; what it refuses."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.stats

from bai_sweep.evaluation._items import ItemRecord
from bai_sweep.evaluation._samples import save_table
from bai_sweep.evaluation.command import compared
from bai_sweep.records import UserError
from tests.unit.evaluation.evaluation_command_cases import QUICK, command

Capture = pytest.CaptureFixture[str]
Lay = Callable[..., Path]
ONE = [100.0, 100.0, 0.0, 50.0, 100.0, 0.0, 100.0, 25.0, 100.0, 75.0]
OTHER = [0.0, 100.0, 0.0, 25.0, 50.0, 25.0, 0.0, 25.0, 100.0, 0.0]


def items(
    points: Sequence[float],
    *,
    ids: Sequence[str] = (),
    clusters: Sequence[str] = (),
    weights: Sequence[float] = (),
    shares: Sequence[float] = (),
) -> tuple[ItemRecord, ...]:
    names = list(ids) or [f"i{n}" for n in range(len(points))]
    count = len(points)
    columns = zip(names, clusters or names, weights or [1.0] * count, shares or [1.0] * count, points, strict=True)
    return tuple(
        ItemRecord("task", n, name, cluster, "task", weight, share, value, {}, {})
        for n, (name, cluster, weight, share, value) in enumerate(columns)
    )


@pytest.fixture
def lay(tmp_path: Path) -> Lay:
    """Writes an evaluation's table of items, where a trial has it."""

    def write(name: str, benchmarks: Mapping[str, Sequence[ItemRecord]] | Sequence[ItemRecord]) -> Path:
        folder = tmp_path / name / "samples"
        folder.mkdir(parents=True)
        save_table(folder / "items.parquet", benchmarks if isinstance(benchmarks, Mapping) else {"bench": benchmarks})
        return tmp_path / name

    return write


def test_equal_weights(lay: Lay) -> None:
    """The mean of the differences, its error, SciPy's paired bootstrap, and every exchange of the two models."""
    one, other = np.array(ONE), np.array(OTHER)
    (found,) = compared([lay("one", items(ONE)), lay("other", items(OTHER))])
    d = found.difference
    gaps = one - other
    assert d.value == pytest.approx(gaps.mean(), abs=1e-9)
    assert d.standard_error == pytest.approx(gaps.std(ddof=1) / np.sqrt(len(gaps)), abs=1e-9)
    assert (found.shared, found.items, d.clusters) == (10, 10, 10)
    signs = np.array(list(itertools.product([1, -1], repeat=len(gaps))))
    exact = (np.abs((signs * gaps).mean(axis=1)) >= abs(gaps.mean()) - 1e-9).mean()
    reference = scipy.stats.permutation_test(
        (one, other), lambda a, b: (a - b).mean(), permutation_type="samples", n_resamples=np.inf
    )
    assert reference.pvalue == pytest.approx(exact, abs=1e-12)
    assert d.p_value == pytest.approx(exact, abs=0.01)  # 10,000 of them: a standard error of 0.002
    assert found.adjusted == d.p_value
    interval = scipy.stats.bootstrap(
        (gaps,), np.mean, n_resamples=100_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert (d.low, d.high) == pytest.approx((interval.low, interval.high), abs=1.5)


def test_weights_and_clusters(lay: Lay) -> None:
    """Each model's own weights, pairs of items drawn together: the error of a difference of ratios, by hand."""
    clusters = [f"c{n // 2}" for n in range(10)]
    u, v = np.array([1.0, 3.0] * 5), np.array([3.0, 1.0, 1.0, 1.0, 3.0] * 2)
    (found,) = compared(
        [
            lay("one", items(ONE, clusters=clusters, weights=list(u))),
            lay("other", items(OTHER, clusters=clusters, weights=list(v))),
        ]
    )
    one, other = np.array(ONE), np.array(OTHER)
    means = (u * one).sum() / u.sum(), (v * other).sum() / v.sum()
    assert found.difference.value == pytest.approx(means[0] - means[1], abs=1e-9)
    pulls = u * (one - means[0]) / u.sum() - v * (other - means[1]) / v.sum()
    error = np.sqrt(5 / 4 * (pulls.reshape(5, 2).sum(axis=1) ** 2).sum())
    assert found.difference.standard_error == pytest.approx(error, abs=1e-9)
    assert found.difference.clusters == 5


def test_swapped_it_is_the_negative(lay: Lay) -> None:
    folders = [lay("one", items(ONE)), lay("other", items(OTHER))]
    (found,), (swapped,) = compared(folders), compared(folders[::-1])
    assert swapped.difference.value == -found.difference.value
    assert swapped.difference.standard_error == pytest.approx(found.difference.standard_error, abs=1e-12)
    assert swapped.difference.p_value == pytest.approx(found.difference.p_value, abs=0.01)


def test_three_evaluations_are_corrected_together(lay: Lay) -> None:
    """Holm: the smallest of three p-values times 3, the next times 2, none below the one before."""
    third = [min(100.0, value + 1.0) for value in OTHER]
    comparisons = compared([lay("one", items(ONE)), lay("other", items(OTHER)), lay("third", items(third))])
    assert [(Path(c.one).name, Path(c.other).name) for c in comparisons] == [
        ("one", "other"),
        ("one", "third"),
        ("other", "third"),
    ]
    order = sorted(comparisons, key=lambda c: c.difference.p_value)
    expected, floor = [], 0.0
    for factor, c in zip((3, 2, 1), order, strict=True):
        floor = max(floor, min(1.0, factor * c.difference.p_value))
        expected.append(floor)
    assert [c.adjusted for c in order] == pytest.approx(expected, abs=1e-12)
    assert order[0].adjusted > order[0].difference.p_value


def test_only_shared_items_and_benchmarks_are_compared(lay: Lay, capsys: Capture) -> None:
    """In whatever order they stand; how many is said."""
    ids = [f"i{n}" for n in range(10)]
    one = lay("one", {"bench": items(ONE, ids=ids), "alone": items(ONE)})
    other = lay("other", {"bench": items(OTHER[:6][::-1], ids=ids[:6][::-1])})
    (found,) = compared([one, other])
    assert (found.benchmark, found.shared, found.items) == ("bench", 6, 10)
    assert found.difference.value == pytest.approx(np.mean(ONE[:6]) - np.mean(OTHER[:6]), abs=1e-9)
    ended = command(capsys, "compare", str(one), str(other))
    assert ended.code == 0
    assert "6 of 10" in ended.out
    assert "alone" not in ended.out


def test_items_weigh_as_where_only_the_shared_ones_were_run(lay: Lay) -> None:
    """A subset of four of ten items stands for all of them: the first of its strata for eight, the others for two."""
    ids, shares = ["i0", "i1", "i8", "i9"], [4.0, 4.0, 1.0, 1.0]
    whole = lay("whole", items(ONE, shares=[0.5] * 10))
    part = lay("part", items([0.0] * 4, ids=ids, shares=shares))
    expected = np.average([ONE[0], ONE[1], ONE[8], ONE[9]], weights=shares)
    (found,), (swapped,) = compared([whole, part]), compared([part, whole])
    assert found.difference.value == pytest.approx(expected, abs=1e-9)
    assert swapped.difference.value == pytest.approx(-expected, abs=1e-9)


def test_the_same_id_in_two_tasks_is_two_items(lay: Lay) -> None:
    def twice(values: Sequence[float]) -> tuple[ItemRecord, ...]:
        (a, b) = items(values, ids=["x", "y"])
        return a, b, ItemRecord("other task", 0, "x", "other", "s", 1.0, 1.0, values[0], {}, {})

    (found,) = compared([lay("one", twice([100.0, 50.0])), lay("other", twice([0.0, 50.0]))])
    assert found.shared == 3
    assert found.difference.value == pytest.approx(200 / 3, abs=1e-9)


def test_the_table_has_the_numbers_and_whole_names(lay: Lay, capsys: Capture) -> None:
    one, other = lay("a_model_with_a_long_name", items(ONE)), lay("another_model_with_a_longer_name", items(OTHER))
    (found,) = compared([one, other])
    ended = command(capsys, "compare", str(one), str(other))
    assert (ended.code, ended.err) == (0, "")
    d = found.difference
    (row,) = [line for line in ended.out.splitlines() if "bench " in line]
    assert [cell.strip() for cell in row.split("│")[3:-1]] == [
        f"{d.value:+.2f} ± {d.standard_error:.2f}",
        f"{d.low:+.1f} to {d.high:+.1f}",
        f"{d.p_value:.4f}",
        f"{found.adjusted:.4f}",
        "10",
    ]
    names = "".join(line.split("│")[2].strip() for line in ended.out.splitlines() if line.startswith("│"))
    assert f"{one}-{other}" in names.replace(" ", "")
    assert "Holm corrects for all 1 comparisons" in ended.out


def test_two_runs(tmp_path: Path, capsys: Capture) -> None:
    """From models to the table: the columns that `run` writes are those that `compare` reads."""
    folders = [tmp_path / name for name in ("instruct", "base")]
    for folder in folders:
        code = command(
            capsys,
            *("run", f"model=testbed://{folder.name}", f"out={folder}", f"evaluation.cache_dir={tmp_path / 'cache'}"),
            *(*QUICK, "limit=6", "~evaluation.benchmarks.arithmetic", "~evaluation.benchmarks.arena"),
        ).code
        assert code == 0
    tables = [pq.read_table(folder / "samples/items.parquet").to_pylist() for folder in folders]
    gaps = [a["points"] - b["points"] for a, b in zip(*tables, strict=True)]
    ended = command(capsys, "compare", *map(str, folders))
    assert ended.code == 0
    error = np.std(gaps, ddof=1) / np.sqrt(6)
    assert f"{np.mean(gaps):+.2f} ± {error:.2f}" in ended.out


def test_a_folder_without_an_evaluation(lay: Lay, tmp_path: Path, capsys: Capture) -> None:
    ended = command(capsys, "compare", str(lay("one", items(ONE))), str(tmp_path / "nothing"))
    assert (ended.code, ended.out) == (1, "")
    assert f"there is no items.parquet in {tmp_path / 'nothing'}" in ended.err


@pytest.mark.parametrize("spoil", [lambda raw: b"", lambda raw: raw[:-50], lambda raw: b"PAR1" + raw[4:100] + b"PAR1"])
def test_a_damaged_table(spoil: Callable[[bytes], bytes], lay: Lay, capsys: Capture) -> None:
    one, other = lay("one", items(ONE)), lay("other", items(OTHER))
    path = other / "samples/items.parquet"
    path.write_bytes(spoil(path.read_bytes()))
    ended = command(capsys, "compare", str(one), str(other))
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith(f"{path} cannot be read: ")


def test_a_table_of_another_kind(lay: Lay, capsys: Capture) -> None:
    one, other = lay("one", items(ONE)), lay("other", items(OTHER))
    path = other / "samples/items.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["share"]), path)
    ended = command(capsys, "compare", str(one), str(other))
    assert (ended.code, ended.out) == (1, "")
    assert re.search(rf"^{path} cannot be read: .*share", ended.err)


def test_what_cannot_be_compared(lay: Lay, tmp_path: Path) -> None:
    one = lay("one", items(ONE))
    with pytest.raises(UserError, match="a comparison is between different folders"):
        compared([one, Path(f"{one}/")])
    with pytest.raises(UserError, match="needs a benchmark that both have"):
        compared([one, lay("stranger", {"maths": items(ONE)})])
    with pytest.raises(UserError, match="benchmark bench has 1 in common, in 1 clusters"):
        compared([one, lay("single", items([1.0, 2.0], ids=["i0", "j"]))])
    with pytest.raises(UserError, match="benchmark bench has 0 in common"):
        compared([one, lay("disjoint", items(ONE, ids=[f"j{n}" for n in range(10)]))])
    with pytest.raises(UserError, match="a mean needs an item that counts; of benchmark bench none"):
        compared([one, lay("undecided", items(ONE, weights=[0.0] * 10))])
