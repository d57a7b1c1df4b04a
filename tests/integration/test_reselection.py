"""A finished study decided again by another rule, and what its report says of losers and of what to run next."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bai_sweep.records import UserError
from bai_sweep.study import check_study, write_report
from tests.synthetic import score, trial
from tests.unit.config.test_config import parsed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A study of two ratios with two seeds each."""
    study = tmp_path / "mine"
    config = parsed("tracking=none", "study=mine", f"results_dir={tmp_path}").model_dump(mode="json")
    command = "python -m bai_sweep -m alpha=0.1,0.5 seeds=2 rl.steps=40 study=mine"
    record = {"name": "mine", "command": command, "total": 4, "parent_run_id": None, "config": config}
    for number, (alpha, seed) in enumerate((a, s) for a in (0.1, 0.5) for s in (0, 1)):
        place = study / "trials" / str(number)
        place.mkdir(parents=True)
        items = 50 + 40 * alpha + seed + np.array([10.0, -10.0] * 40)
        made = trial(number, {"alpha": alpha, "seed": seed}, scores=[score("arithmetic", items)])
        replace(made, seed=seed).save(place)
    (study / "study.json").write_text(json.dumps(record))
    return study


def test_another_rule_decides_anew(folder: Path) -> None:
    first = write_report(folder).choice
    assert first is not None
    assert (first.winner, first.clear, first.next_trials) == (2, True, ())
    page = (folder / "report.html").read_text()
    assert "behind by 16.0 points" in page
    again = write_report(folder, ["selection.min_seeds=3"])
    assert again.choice is not None
    assert (again.choice.winner, again.choice.clear) == (2, False)
    (asked,) = again.choice.next_trials
    assert asked.command == (
        "python -m bai_sweep -m rl.steps=40 alpha=0.5,0.1 'seed=choice(2)' study=mine-next "
        f"'selection.also=[{folder}]'\n"
        f"python -m bai_sweep.report {folder} 'selection.also=[{folder.with_name('mine-next')}]'"
    )
    for written in ("report.html", "report.md"):
        text = (folder / written).read_text()
        assert "study=mine-next" in text
        assert "behind by 16.0 points" in text
    floored = write_report(folder, ["selection.floors.arithmetic={min: 60}"]).choice
    assert floored is not None
    assert floored.ineligible == dict.fromkeys((0, 1), "arithmetic 54.5 is below 60")


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("seeds=3", "a report takes selection.<key>=<value>; got 'seeds=3'"),
        ("selection.min_seed=3", "selection.min_seed: there is no such key"),
        ("selection.floors.mmlu={min: 60}", "no such benchmark"),
        ("selection.floors.arithmetic={reference: nowhere, slack: 1}", "nowhere holds no result.json"),
        ("selection.objective={", "cannot be read"),
    ],
)
def test_a_bad_rule_is_refused_and_nothing_written(folder: Path, override: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint.replace("{", r"\{")):
        write_report(folder, [override])
    assert not (folder / "report.html").exists()


def test_a_folder_that_is_not_there_is_refused_before_the_study() -> None:
    config = parsed("+selection.floors.arithmetic={reference: results/gone, slack: 1}", "tracking=none")
    with pytest.raises(UserError, match=r"selection\.floors\.arithmetic\.reference: results/gone holds no"):
        check_study(config)
