"""`report` and `compare` on folders, finished or not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from bai_sweep.command import run_command
from bai_sweep.config import parse
from bai_sweep.records import TrialResult
from bai_sweep.sources import packaged_dir
from bai_sweep.study import read_study
from bai_sweep.tracking._journal import Journal
from tests.synthetic import realistic
from tests.unit.report.report_helpers import GEOMETRY, on_disk, trial_folder

MULTIRUN = """hydra:
  sweeper:
    objective: [eval/overall, objective/final_kl]
    direction: [maximize, minimize]
"""


@pytest.fixture(scope="module")
def config() -> dict[str, object]:
    with initialize_config_dir(str(packaged_dir("conf")), version_base="1.3"):
        return parse(compose("config", ["tracking=none"])).model_dump(mode="json")


@pytest.fixture
def folder(tmp_path: Path, config: dict[str, object]) -> Path:
    """Two trials that have ended, one in its eighth step, one that has just begun."""
    results = [realistic(0, 0.1, skill=0.7), realistic(1, 0.5, skill=0.6)]
    folder = on_disk(tmp_path / "results" / "mine", results, config, MULTIRUN)
    (folder / "trials" / "0" / "geometry.json").write_text(json.dumps(GEOMETRY))
    (folder / "trials" / "1" / "geometry.json").write_text('{"layers": [')  # is being written
    journal(trial_folder(folder, 2, ["workers=2", "alpha=0.9", "study=mine"]), realistic(2, 0.9, skill=0.6))
    trial_folder(folder, 3, ["alpha=0.3"])
    (folder / "trials" / "4" / ".hydra").mkdir(parents=True)
    return folder


def journal(place: Path, result: TrialResult) -> None:
    """Steps of an attempt that died, then those of one that goes on, the last line torn."""
    for attempt, count in (("first", 20), ("second", 8)):
        written = Journal(place, attempt)
        written.append("start", name="x")
        written.append("metrics", step=0, values={"objective/final_kl": 1.0})
        for step in result.telemetry[:count]:
            written.append("metrics", step=step.step, values=dict(step.metrics))
        written.close()
    with (place / "journal.jsonl").open("a") as file:
        file.write('{"attempt": "second", "event": "metrics", "step": 9, "val')


def run(name: str, *arguments: str) -> None:
    run_command(name, arguments, hydra_main=lambda: pytest.fail("no Hydra"))


def test_a_study_is_read_while_it_runs(folder: Path) -> None:
    study = read_study(folder)
    assert study.pending == (2, 3, 4)
    (running,) = study.running
    assert (running.number, running.params, running.seed) == (2, {"alpha": 0.9}, 3)
    assert running.telemetry == realistic(2, 0.9, skill=0.6).telemetry[:8]
    assert [v.detector for v in running.diagnosis.verdicts]
    assert study.objectives == (("eval/overall", "maximize"), ("objective/final_kl", "minimize"))
    assert list(study.geometry) == [0]
    assert study.spans == {0: (0.0, 60.0), 1: (100.0, 160.0)}


def test_report_rebuilds_everything(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("report", "study=mine", f"results_dir={folder.parent}")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Trial 2 (alpha=0.9) has not ended (8 PPO steps so far)" in page
    assert "So far, take" in page
    assert f"python -m bai_sweep report study=mine results_dir={folder.parent}" in page
    text = (folder / "report.md").read_text(encoding="utf-8")
    pictures = sorted(path.name for path in (folder / "figures").glob("*.png"))
    keys = ("cost", "curves", "kl_vs_reward", "merge_geometry", "score_vs_alpha", "score_vs_stability")
    assert pictures == [f"{key}.png" for key in keys]
    assert all(f"](figures/{name})" in text for name in pictures)
    assert (folder / "tables" / "comparison.csv").is_file()
    assert not list(folder.rglob("*.partial"))
    assert "trial 2 has not ended" in capsys.readouterr().out


def test_report_takes_the_newest_study(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder.parent.parent)
    run("report")
    assert "results/mine/report.html" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("report", ["study=nope"], "no study nope in {results}; there are: mine"),
        ("report", ["studies=mine"], "with a key of study, results_dir; got 'studies=mine'"),
        ("compare", ["studies=mine"], "two studies at least, as in studies=a,b; got mine"),
        ("compare", ["studies=mine,mine"], "between different studies; got mine, mine"),
        ("compare", ["studies=mine,nope"], "no study nope in {results}; there are: mine"),
        ("compare", [], "as in studies=a,b; got none"),
    ],
)
def test_bad_arguments_are_one_message(
    folder: Path, name: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.rglob("*"))
    with pytest.raises(SystemExit, match="2"):
        run(name, *arguments, f"results_dir={folder.parent}")
    assert message.format(results=folder.parent) in capsys.readouterr().err
    assert sorted(folder.rglob("*")) == before


def test_a_study_of_another_version_is_named(
    folder: Path, config: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((folder / "study.json").read_text())
    del record["config"]["stability"]
    (folder / "study.json").write_text(json.dumps(record))
    with pytest.raises(SystemExit, match="2"):
        run("report", f"results_dir={folder.parent}")
    told = capsys.readouterr().err
    assert "study.json was written by another version" in told
    assert "stability" in told


def test_compare_writes_a_page_and_prints_its_tables(
    folder: Path, config: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    results = [replace(realistic(k, a, skill=0.5), number=k) for k, a in enumerate((0.1, 0.9))]
    on_disk(folder.parent / "other", results, {**config, "seed": 7})
    run("compare", "studies=mine,other", f"results_dir={folder.parent}")
    out = capsys.readouterr().out
    page = folder.parent / "compare-mine-other" / "report.html"
    assert "mine - other" in out.replace("\n", "")
    assert str(page) in out.replace("\n", "")
    text = page.read_text(encoding="utf-8")
    assert "<tr><th>seed</th><td>0</td><td>7</td></tr>" in text
    assert "<tr><th>alpha</th><td>swept: 0.1, 0.5</td><td>swept: 0.1, 0.9</td></tr>" in text
    run("compare", "studies=mine,other", f"results_dir={folder.parent}", f"out={folder.parent.parent / 'elsewhere'}")
    assert (folder.parent.parent / "elsewhere" / "figures" / "curves.svg").is_file()
    with pytest.raises(SystemExit, match="2"):
        run("compare", "studies=mine,other", f"results_dir={folder.parent}", f"out={folder}")
    assert "holds a study" in capsys.readouterr().err
