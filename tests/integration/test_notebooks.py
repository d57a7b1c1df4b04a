"""The notebooks run from top to bottom on studies as MLflow and folders hold them, and show what readers look for."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import nbformat
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from nbclient import NotebookClient
from nbformat import NotebookNode

from bai_sweep.config import TrialConfig, parse
from bai_sweep.promotion import read_study
from bai_sweep.records import Diagnosis, StepTelemetry, TrialResult
from bai_sweep.sources import packaged_dir
from bai_sweep.stability import diagnose
from bai_sweep.study import open_study
from tests.synthetic import BENCHMARKS, realistic

FOLDER = Path(__file__).parents[2] / "notebooks"
COMPARE, PAPER, PICK, DYNAMICS = NAMES = (
    "01_compare_alphas",
    "02_reproduce_paper_figures",
    "03_pick_production_ratio",
    "04_ppo_dynamics",
)
SERIES = ("objective/scores", "completions/mean_length", "objective/kl")
HEALTHY, COLLAPSED = {0.1: 0.5, 0.3: 0.6, 0.5: 0.9}, {0.7: 0.6, 0.8: 0.6, 0.9: 0.6}  # alpha: share of right answers


@dataclass(frozen=True)
class Cell:
    """What a reader sees below a code cell."""

    text: str
    images: int


def cells_of(name: str) -> list[NotebookNode]:
    cells = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code"]


def executed(name: str, folder: Path, changes: Mapping[str, str] | None = None) -> list[Cell]:
    """Runs a notebook in `folder`; `changes` are a reader's, of the first code cell. A warning is a failure."""
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    for before, after in (changes or {}).items():
        assert before in first.source
        first.source = first.source.replace(before, after)
    client = NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    return [_cell(cell.outputs) for cell in client.execute().cells if cell.cell_type == "code"]


def _cell(outputs: Sequence[NotebookNode]) -> Cell:
    assert [o.text for o in outputs if o.get("name") == "stderr"] == []
    data = [output.data for output in outputs if "data" in output]
    texts = [output.text for output in outputs if output.output_type == "stream"]
    texts += [d[kind] for d in data for kind in ("text/html", "text/markdown") if kind in d]
    return Cell("".join(texts), sum("image/png" in d for d in data))


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
        run_id = client.create_run(experiment, run_name=f"{result.label}, seed=0", tags=tags).info.run_id
        metrics = [Metric(name, value, 0, 50) for name, value in result.metrics().items()]
        metrics += [Metric("eval/arena/wins", 12.0, 0, 50)]
        metrics += [Metric(name, step.metrics[name], 0, step.step) for step in result.telemetry for name in SERIES]
        client.log_batch(run_id, metrics, [Param(name, str(alpha)) for name in ("alpha", "actor.alpha")])
        client.set_terminated(run_id)
    failed = client.create_run(experiment, run_name="alpha=0.7", tags=nested).info.run_id
    client.log_param(failed, "alpha", "0.7")
    client.set_terminated(failed, status="FAILED")
    client.set_terminated(parent.info.run_id)
    return uri


@pytest.fixture(scope="module")
def config() -> TrialConfig:
    with initialize_config_dir(str(packaged_dir("conf")), version_base="1.3"):
        return parse(compose("config", ["tracking=none"]))


def measured(result: TrialResult, config: TrialConfig, *, collapse: bool) -> TrialResult:
    """The trial with all telemetry that the notebook draws but the critic's, and the detectors' verdicts on it."""
    rng = np.random.default_rng(result.number)
    # the invented dip begins with the run, of which no start is left to compare with
    dip = {"objective/scores": lambda step: 0.3 - 0.7 * min(max(step - 6, 0) / 6, 1) + 0.02 * max(step - 14, 0)}
    steps = tuple(
        StepTelemetry(
            s.step,
            {
                **s.metrics,
                **{name: shape(s.step) + rng.normal(0, 0.05) for name, shape in dip.items() if collapse},
                "policy/entropy_avg": 0.4 + rng.normal(0, 0.02),
                "completions/clipped_ratio": 0.05,
                "completions/repetition_ratio": 0.1 + rng.normal(0, 0.01),
                "tokens_per_second/step": 900.0,
            },
        )
        for s in result.telemetry
    )
    diagnosis = diagnose(steps, config.stability)
    assert (diagnosis.worst == "certain") is collapse
    return replace(result, telemetry=steps, diagnosis=diagnosis)


def stored(folder: Path, config: TrialConfig, results: Sequence[TrialResult], space: Mapping[str, str]) -> Path:
    """A study's folder: study.json as a study writes it, and each trial's result and Hydra folder."""
    sys_argv, sys.argv = sys.argv, ["bai_sweep", "-m", *(f"{key}={values}" for key, values in space.items())]
    try:
        open_study(config, name=folder.name, folder=folder, space=space, total=len(results), resume=False)
    finally:
        sys.argv = sys_argv
    (folder / "trials").mkdir()
    for result in results:
        hydra = folder / "trials" / str(result.number) / ".hydra"
        hydra.mkdir(parents=True)
        actor = result.params.get("actor", "bai")
        (hydra / "config.yaml").write_text(f"actor: {{name: {actor}}}\nseed: {result.seed}\n")
        (hydra / "overrides.yaml").write_text("".join(f"- {key}={value}\n" for key, value in result.params.items()))
        result.save(hydra.parent)
    return folder


@pytest.fixture(scope="module")
def ratios(tmp_path_factory: pytest.TempPathFactory, config: TrialConfig) -> Path:
    """Six ratios with two seeds each, of which the three high ones collapse and 0.5 scores best by far."""
    results = []
    for alpha, skill in (HEALTHY | COLLAPSED).items():
        for seed in (0, 1):
            params, collapse = {"alpha": alpha, "seed": seed}, alpha in COLLAPSED
            made = realistic(len(results), alpha, skill=skill, collapse=collapse, params=params)
            results.append(measured(replace(made, seed=seed), config, collapse=collapse))
    folder = tmp_path_factory.mktemp("results") / "ratios"
    return stored(folder, config, results, {"alpha": "0.1,0.3,0.5,0.7,0.8,0.9", "seed": "0,1"})


@pytest.fixture(scope="module")
def paradigms(tmp_path_factory: pytest.TempPathFactory, config: TrialConfig) -> Path:
    """The paper's four, once each: Paradigm 3 collapses, Paradigm 2 is not trained, the others are as good."""
    results = []
    for number, actor in enumerate(("paradigm1", "paradigm2", "paradigm3", "bai")):
        collapse = actor == "paradigm3"
        made = realistic(number, 0.1, skill=0.6, collapse=collapse, params={"actor": actor})
        untrained = replace(made, telemetry=(), diagnosis=Diagnosis())
        results.append(untrained if actor == "paradigm2" else measured(made, config, collapse=collapse))
    folder = tmp_path_factory.mktemp("results") / "paradigms"
    return stored(folder, config, results, {"actor": "paradigm1,paradigm2,paradigm3,bai"})


def test_01_compares_a_stored_study(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAI_TRACKING_URI", store)
    monkeypatch.setenv("BAI_STUDY", "ratios")

    _, found, table, ratio, curves = executed(COMPARE, tmp_path)

    assert found.text == "ratios: 3 finished trials: alpha=0.1, seed=0; alpha=0.5, seed=0; alpha=0.9, seed=0\n"
    for text in (
        "alpha=0.1, seed=0",
        "alpha=0.5, seed=0",
        "alpha=0.9, seed=0",
        "overall",
        "0.42",
        "reward hockey stick (certain)",
        *BENCHMARKS,
    ):
        assert text in table.text
    assert "wins" not in table.text  # a benchmark's own figures are not benchmarks
    expected = realistic(0, 0.1, skill=0.6).report
    assert f"{expected.overall:.1f} ± {expected.overall_stderr:.1f}" in table.text
    assert (ratio.images, curves.images) == (1, 1)


def test_01_answers_an_unknown_study_with_the_known_ones(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAI_TRACKING_URI", store)
    monkeypatch.setenv("BAI_STUDY", "ratio")
    with pytest.raises(LookupError, match=r"no study named 'ratio' at .*; it holds ratios; set BAI_STUDY"):
        begun(COMPARE)


def test_02_draws_table_1_and_both_figures(paradigms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAI_STUDY_FOLDER", str(paradigms))

    _, found, tables, _, reward, length = executed(PAPER, tmp_path)

    assert found.text == "paradigms: 4 finished trials of 4 points\n"
    assert "| method | knowledge | arithmetic | arena | overall |" in tables.text
    assert all(f"| {name} |" in tables.text for name in ("Paradigm 1", "Paradigm 2", "Paradigm 3"))
    assert "**Table 2**: this study has one ratio only; run +sweep=table2_alpha" in tables.text
    assert (reward.images, length.images) == (1, 1)
    assert "actor=paradigm3: certain reward hockey stick: from " in reward.text
    assert "actor=bai: no reward hockey stick: no early dip" in reward.text
    assert "actor=paradigm3: certain length collapse: from " in length.text
    assert "not recovered" in length.text
    assert "paradigm2" not in length.text  # it was not trained


def test_02_draws_table_2_with_means_over_seeds(ratios: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAI_STUDY_FOLDER", str(ratios))

    _, found, tables, _, reward, length = executed(PAPER, tmp_path)

    assert found.text == "ratios: 12 finished trials of 6 points\n"
    assert "**Table 1**: this study has no paradigm to compare with; run +sweep=table1_paradigms" in tables.text
    assert "|  | alpha 0.1 | alpha 0.3 | alpha 0.5 | alpha 0.7 | alpha 0.8 | alpha 0.9 |" in tables.text
    seeds = [TrialResult.load(ratios / "trials" / number).report.overall for number in ("4", "5")]
    assert f"**{np.mean(seeds):.1f}**" in tables.text  # alpha = 0.5, the best
    assert (reward.images, length.images) == (1, 1)
    assert "alpha=0.9, seed=1: certain length collapse" in length.text


def test_03_shows_the_choice_and_what_another_rule_would_choose(
    ratios: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAI_STUDY_FOLDER", str(ratios))

    _, reason, standings, intervals, more, rules, chances, promote = executed(
        PICK, tmp_path, {"0.5 * final_kl": "50 * final_kl"}
    )

    assert "alpha=0.5" in reason.text
    for text in ("alpha=0.5", "recommended", "&gt; 0.99", "length collapse is certain", "ruled out: ", "behind by "):
        assert text in standings.text
    assert (intervals.images, chances.images) == (1, 1)
    assert more.text.startswith("The lead is clear: nothing more is needed.")
    own, dear, floors, seeds = rules.text.split("<tbody>")[1].split("</tr>")[:4]
    assert taken(own) == ("alpha=0.5", "yes")
    assert "overall - 50 * final_kl" in dear
    assert taken(dear)[0] == "alpha=0.1"  # its KL is the lowest
    assert taken(floors)[0] == "alpha=0.5"
    assert re.search(r"alpha=0\.1: [^;]* is below \d", floors)
    assert taken(seeds) == ("alpha=0.5", "no")  # it has two
    assert promotable(promote.text) == 4


def test_03_asks_for_trials_where_the_lead_is_not_clear(
    paradigms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAI_STUDY_FOLDER", str(paradigms))

    _, _, standings, _, more, _, _, promote = executed(PICK, tmp_path)

    assert "ruled out: " in standings.text
    assert "length collapse is certain" in standings.text
    assert "python -m bai_sweep -m " in more.text
    assert "study=paradigms-next" in more.text
    first, command = promote.text.splitlines()
    assert first == "# the lead is not clear; what would tell more stands above"
    assert promotable(command) != 2


def test_03_promotes_nothing_where_no_ratio_may_win(
    config: TrialConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = [
        measured(realistic(n, a, skill=0.6, collapse=True), config, collapse=True) for n, a in enumerate((0.8, 0.9))
    ]
    monkeypatch.setenv("BAI_STUDY_FOLDER", str(stored(tmp_path / "lost", config, failing, {"alpha": "0.8,0.9"})))

    *_, rules, chances, promote = executed(PICK, tmp_path)

    assert rules.text.count("<td>none</td>") == 4
    assert chances.images == 1
    assert promote.text.startswith("No ratio may win, so there is nothing to promote:")
    assert "bai_sweep promote" not in promote.text


def taken(row: str) -> tuple[str, str]:
    """Of a row of the table of rules: the ratio and whether it is clear."""
    cells = [cell.partition("</td>")[0] for cell in row.split("<td>")[1:]]
    return cells[0], cells[2]


def promotable(command: str) -> int:
    """The trial that the command names; it is the one that promotion itself would take of that study."""
    words = shlex.split(command)
    given = dict(word.split("=", 1) for word in words[4:])
    assert words[:4] == ["python", "-m", "bai_sweep", "promote"]
    choice = read_study(Path(given["results_dir"]) / given["study"]).choice
    assert choice is not None
    assert choice.winner == int(given["trial"])
    return choice.winner


def test_04_shows_when_faults_were_heard_and_how_early_they_can_be_told(
    ratios: Path, config: TrialConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAI_STUDY_FOLDER", str(ratios))
    monkeypatch.setenv("BAI_TRIALS", "4,10")

    _, found, curves, faults, price, warning = executed(DYNAMICS, tmp_path)

    shown = "#4 alpha=0.5, seed=0; #10 alpha=0.9, seed=0"
    assert found.text == f"ratios: 12 trials with telemetry; shown: {shown}\n"
    assert (curves.images, price.images, warning.images) == (1, 1, 1)
    lost = TrialResult.load(ratios / "trials" / "10")
    row = next(row for row in faults.text.split("<tr") if "length collapse" in row)
    cells = [cell.partition("</td>")[0] for cell in row.split("<td>")[1:]]
    assert "#10 alpha=0.9, seed=0" in row
    suspected, certain = int(cells[1]), int(cells[2])
    assert [level(lost, config, seen) for seen in (suspected - 1, suspected)] == ["none", "suspected"]
    assert [level(lost, config, seen) for seen in (certain - 1, certain)] == ["suspected", "certain"]
    assert cells[5] == "certain"
    assert "#4" not in faults.text
    assert "on 12 trials, 6 collapsed" in warning.text
    skill = float(warning.text.split("after 5 steps: skill ")[1].split(",")[0])
    assert skill > 0.3  # the length falls from the first step on


def level(result: TrialResult, config: TrialConfig, seen: int) -> str:
    """What the detector of length collapse says after so many steps of a run of 50."""
    verdicts = diagnose(result.telemetry[:seen], config.stability, steps=50).verdicts
    return next(verdict.level for verdict in verdicts if verdict.detector == "length_collapse")


def test_04_says_where_a_study_is_too_small_to_learn_from(
    paradigms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAI_STUDY_FOLDER", str(paradigms))

    _, found, curves, *_, warning = executed(DYNAMICS, tmp_path)

    assert (
        "paradigms: 3 trials with telemetry; shown: #0 actor=paradigm1; #2 actor=paradigm3; #3 actor=bai" in found.text
    )
    assert curves.images == 1
    assert warning == Cell(
        "Too little to learn from: 1 points with a collapse and 2 without; it takes 3 of each.\n", 0
    )


def begun(name: str) -> None:
    """Runs the first two code cells here: the parameters and the study."""
    parameters, find = (cell.source for cell in cells_of(name)[:2])
    exec(f"{parameters}\n{find}", {})


@pytest.mark.parametrize("name", [PAPER, PICK, DYNAMICS])
def test_a_folder_without_a_study_is_answered_with_those_beside_it(
    name: str, ratios: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAI_STUDY_FOLDER", str(ratios.with_name("ratio")))
    with pytest.raises(FileNotFoundError, match=r"ratio holds no study \(beside it: .*ratios\); set BAI_STUDY_FOLDER"):
        begun(name)


def test_trials_that_cannot_be_read_are_answered(
    ratios: Path, config: TrialConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAI_STUDY_FOLDER", str(ratios))
    monkeypatch.setenv("BAI_TRIALS", "3,99")
    with pytest.raises(
        LookupError, match=r"no telemetry of trial 99 in .*; there is that of 0, 1, .*; set BAI_TRIALS"
    ):
        begun(DYNAMICS)
    monkeypatch.setenv("BAI_STUDY_FOLDER", str(stored(tmp_path / "new", config, [], {"alpha": "0.1,0.5"})))
    with pytest.raises(LookupError, match="no trial of new has finished"):
        begun(PICK)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_stored_without_outputs(name: str) -> None:
    nbformat.validate(nbformat.read(FOLDER / f"{name}.ipynb", as_version=4))
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells_of(name))
    assert [path.stem for path in sorted(FOLDER.glob("*.ipynb"))] == list(NAMES)
