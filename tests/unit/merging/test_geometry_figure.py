"""The figure of a merge's geometry."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bai_sweep.merging._types import TensorInfo
from bai_sweep.merging.geometry import draw
from bai_sweep.merging.geometry._figure import panels
from tests.unit.merging.geometry_helpers import arrays_of, linear, looked

TENSORS = [
    TensorInfo("model.embed_tokens.weight", (20, 8), "embeddings", None),
    *(TensorInfo(f"model.layers.{k}.mlp.w", (8, 8), "mlp", k / 2) for k in range(3)),
    TensorInfo("model.norm.weight", (8,), "norms", None),
]


def test_the_panels_show_every_task_vector_at_every_layer() -> None:
    arrays = arrays_of(TENSORS, ("base", "instruct", "distilled"))
    summary = looked(TENSORS, arrays, linear(0.5, instruct=0.5, distilled=0.5), sample=False)

    distance, angle, conflict = panels(summary)

    assert list(distance.lines) == ["instruct", "distilled", "merge"]
    assert distance.lines["merge"] == [row["task_vectors"]["relative"]["merge"] for row in summary["layers"]]
    assert list(angle.lines) == ["instruct~distilled", "instruct~merge", "distilled~merge"]
    assert list(conflict.lines) == ["instruct~distilled", "instruct~distilled (weight)"]
    assert len(conflict.lines["instruct~distilled"]) == 5


@pytest.mark.parametrize(
    ("alpha", "weights", "count"),
    [(0.5, {"a": 0.5, "b": 0.5}, 3), (0.5, {"a": 1.0}, 2), (0.0, {"a": 0.5, "b": 0.5}, 2), (1.0, {}, 1)],
)
def test_a_figure_is_drawn_of_what_there_is(
    tmp_path: Path, alpha: float, weights: dict[str, float], count: int
) -> None:
    method = linear(alpha, **weights)
    summary = looked(TENSORS, arrays_of(TENSORS, method.members), method, sample=False)

    path = draw(summary, tmp_path / "geometry.png")

    assert len(panels(summary)) == count
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.iterdir()] == ["geometry.png"]


def test_a_figure_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Figure, "savefig", full)
    summary = looked(TENSORS, arrays_of(TENSORS, ("base", "a")), linear(0.5, a=1.0), sample=False)

    with pytest.raises(OSError, match="no space left"):
        draw(summary, tmp_path / "geometry.png")

    assert not list(tmp_path.iterdir())


def test_geometry_imports_no_plotting_until_it_draws() -> None:
    code = (
        "import sys, bai_sweep.merging.geometry;"
        "sys.exit(any(m in sys.modules for m in ('matplotlib', 'scipy', 'bai_sweep.report')))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
