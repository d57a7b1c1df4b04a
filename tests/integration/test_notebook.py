"""The comparison notebook runs from top to bottom on a study that real MLflow calls have stored."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.synthetic import BENCHMARKS, realistic

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "compare_alphas.ipynb"
SERIES = ("objective/scores", "completions/mean_length", "objective/kl")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A sqlite store with one study, `ratios`, of three finished trials and one that failed."""
    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(uri)
    experiment = client.create_experiment("bai_sweep", artifact_location=(folder / "artifacts").as_uri())
    parent = client.create_run(experiment, run_name="ratios", tags={"bai.kind": "study"})
    nested = {"bai.kind": "trial", "mlflow.parentRunId": parent.info.run_id}
    for number, alpha in enumerate((0.1, 0.5, 0.9)):
        result = realistic(number, alpha, skill=0.6, collapse=alpha == 0.9)
        tags = nested | {"verdict": result.diagnosis.summary()}
        run_id = client.create_run(experiment, run_name=result.label, tags=tags).info.run_id
        metrics = [Metric(name, value, 0, 50) for name, value in result.metrics().items()]
        metrics += [Metric(name, step.metrics[name], 0, step.step) for step in result.telemetry for name in SERIES]
        client.log_batch(run_id, metrics, [Param(name, str(alpha)) for name in ("alpha", "actor.alpha")])
        client.set_terminated(run_id)
    failed = client.create_run(experiment, run_name="alpha=0.7", tags=nested).info.run_id
    client.log_param(failed, "alpha", "0.7")
    client.set_terminated(failed, status="FAILED")
    client.set_terminated(parent.info.run_id)
    return uri


@pytest.fixture
def environment(store: str, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("BAI_TRACKING_URI", store)
    monkeypatch.setenv("BAI_STUDY", "ratios")
    return monkeypatch


def code_cells() -> list[NotebookNode]:
    return [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]


@pytest.mark.usefixtures("environment")
def test_the_notebook_compares_a_stored_study(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    here = {"metadata": {"path": str(tmp_path)}}
    done = NotebookClient(notebook, timeout=120, kernel_name="python3", resources=here).execute()
    _, found, table, ratio, curves = [cell.outputs for cell in done.cells if cell.cell_type == "code"]
    assert found[0].text == "ratios: 3 finished trials: alpha=0.1; alpha=0.5; alpha=0.9\n"
    expected = realistic(0, 0.1, skill=0.6).report
    shown = table[0].data["text/html"]
    for text in (
        "alpha=0.1",
        "alpha=0.5",
        "alpha=0.9",
        "overall",
        "0.42",
        "reward hockey stick (certain)",
        *BENCHMARKS,
    ):
        assert text in shown
    assert f"{expected.overall:.1f} ± {expected.overall_stderr:.1f}" in shown
    assert "image/png" in ratio[0].data
    assert "image/png" in curves[0].data
    assert [len(outputs) for outputs in (found, table, ratio, curves)] == [1, 1, 1, 1]  # no warnings beside them


def test_an_unknown_study_is_answered_with_the_known_ones(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("BAI_STUDY", "ratio")
    parameters, find = (cell.source for cell in code_cells()[:2])
    with pytest.raises(LookupError, match=r"no study named 'ratio' at .*; it holds ratios; set BAI_STUDY"):
        exec(f"{parameters}\n{find}", {})


def test_the_notebook_is_stored_without_outputs() -> None:
    nbformat.validate(nbformat.read(NOTEBOOK, as_version=4))
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code_cells())
