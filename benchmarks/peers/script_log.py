"""The tracking of a script: logs runs that are done to an MLflow store, one run for each ratio; run in .peers/mlflow.

    script_log.py <store> <folder> <alpha> [<alpha> ...]

In <folder>/alpha-<alpha> are PPO's history.json and lm_eval's results.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Metric


def ppo_metrics(history: list[dict[str, Any]]) -> list[Metric]:
    """Every number of every step."""
    return [
        Metric(name, float(value), 0, int(step["step"]))
        for step in history
        for name, value in step.items()
        if name not in {"step", "epoch"}
    ]


def scores(results: Path) -> dict[str, float]:
    """Every score that lm_eval gives, as task/metric; a comma in its names is none that MLflow takes."""
    (path,) = results.glob("**/results_*.json")
    found: dict[str, dict[str, Any]] = json.loads(path.read_text())["results"]
    return {
        f"{task}/{name.partition(',')[0]}": float(value)
        for task, values in found.items()
        for name, value in values.items()
        if isinstance(value, int | float) and name != "sample_len"
    }


def main() -> None:
    """One run after the other, PPO's metrics in one request."""
    store, folder, *alphas = sys.argv[1:]
    mlflow.set_tracking_uri(store)
    mlflow.set_experiment("script")
    client = mlflow.MlflowClient()
    for alpha in alphas:
        done = Path(folder) / f"alpha-{alpha}"
        history = json.loads((done / "actor" / "history.json").read_text())
        with mlflow.start_run(run_name=f"alpha={alpha}") as run:
            mlflow.log_params({"alpha": alpha, "steps": len(history["tokens"])})
            metrics = ppo_metrics(history["steps"])
            for start in range(0, len(metrics), 1000):  # as many as one request may have
                client.log_batch(run.info.run_id, metrics=metrics[start : start + 1000])
            mlflow.log_metrics(scores(done / "scores"))


if __name__ == "__main__":
    main()
