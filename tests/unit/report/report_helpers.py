"""Invented studies for the report's tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bai_sweep.records import Choice, StepTelemetry, TrialResult
from bai_sweep.report import StudyReport
from bai_sweep.report._gallery import gallery
from bai_sweep.report._spec import Panel, Trace
from tests.synthetic import realistic


def repeated(alphas: Sequence[float] = (0.1, 0.5, 0.9), seeds: int = 3) -> tuple[TrialResult, ...]:
    """Trials of some ratios, each with several seeds."""
    return tuple(
        replace(realistic(seeds * k + s, a, skill=0.7 - 0.2 * a, params={"alpha": a, "seed": s}), seed=s)
        for k, a in enumerate(alphas)
        for s in range(seeds)
    )


def study_of(results: Sequence[TrialResult], winner: int | None = None, **more: object) -> StudyReport:
    """A study with a recommended trial."""
    probability = dict.fromkeys((r.number for r in results), 0.0)
    choice = Choice(winner, () if winner is None else (winner,), probability, {}, "invented", clear=True)
    return StudyReport("mine", Path("results/mine"), "", tuple(results), choice=choice, **more)  # type: ignore[arg-type]


def panels(study: StudyReport) -> dict[str, Panel]:
    """Every panel of a study's figures by its key."""
    return {panel.key: panel for figure in gallery(study) for panel in figure.panels}


def dots(panel: Panel, symbol: str = "disc", least: float = 9) -> list[Trace]:
    """The larger dots of a panel, a point each."""
    return [t for t in panel.traces if t.kind == "dots" and t.symbol == symbol and t.size >= least]


def steps(count: int, **metrics: float) -> tuple[StepTelemetry, ...]:
    """Telemetry that says the same at every step, 32 completions each."""
    return tuple(StepTelemetry(k, {"episode": 32.0 * k, **metrics}) for k in range(1, count + 1))


GEOMETRY = {
    "layers": [
        {
            "layer": layer,
            "task_vectors": {
                "relative": {"instruct": 0.2, "distilled": 0.4, "merge": 0.1 + shift},
                "cosines": {"instruct~distilled": 0.5, "instruct~merge": 0.8, "distilled~merge": 0.9},
            },
            "conflict": {"instruct~distilled": {"share": 0.3, "weighted": 0.2}},
        }
        for layer, shift in (("embeddings", 0.0), (0, 0.05), (1, 0.1))
    ],
    "total": {
        "task_vectors": {
            "relative": {"instruct": 0.2, "distilled": 0.4, "merge": 0.15},
            "cosines": {"instruct~distilled": 0.5, "instruct~merge": 0.8, "distilled~merge": 0.9},
        },
    },
}


def on_disk(folder: Path, results: Sequence[TrialResult], config: dict[str, object], multirun: str = "") -> Path:
    """A study's folder as far as a report reads it: study.json, multirun.yaml, and each trial's files."""
    folder.mkdir(parents=True)
    record = {
        "name": folder.name,
        "command": "python -m bai_sweep -m alpha=0.1,0.5",
        "total": 9,
        "parent_run_id": None,
    }
    (folder / "study.json").write_text(json.dumps({**record, "config": config}))
    if multirun:
        (folder / "multirun.yaml").write_text(multirun)
    for result in results:
        place = trial_folder(folder, result.number, [f"{key}={value}" for key, value in result.params.items()])
        result.save(place)
        span = {"number": result.number, "started": 100.0 * result.number, "updated": 100.0 * result.number + 60}
        (place / "progress.json").write_text(json.dumps(span))
    return folder


def trial_folder(folder: Path, number: int, overrides: Sequence[str]) -> Path:
    """A trial's folder with what Hydra writes there."""
    place = folder / "trials" / str(number)
    (place / ".hydra").mkdir(parents=True)
    (place / ".hydra" / "config.yaml").write_text("actor: {name: bai}\nseed: 3\n")
    (place / ".hydra" / "overrides.yaml").write_text("".join(f"- {item}\n" for item in overrides))
    return place
