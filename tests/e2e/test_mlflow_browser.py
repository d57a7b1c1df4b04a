"""A finished study as a person sees it in MLflow's own interface: a real store, its real server, a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import pytest

from bai_sweep.tracking import newest_study_url
from tests.browser import CHROMIUM, Page, chromium
from tests.replay import interface, replay, tracked_config
from tests.synthetic import realistic
from tests.tracking_store import children

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found")
POINTS = ((0.1, 0), (0.5, 0), (0.9, 0))
PATIENCE = 120.0  # seconds; the machine may do much else


@dataclass(frozen=True)
class Served:
    """A finished study, where it is served, and a tab."""

    page: Page
    base: str
    link: str
    experiment: str
    parent: str
    trials: dict[str, str]  # run ids by name


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("mlflow")
    config = tracked_config(home)
    results = [
        replace(realistic(n, alpha, skill=0.8 - 0.3 * alpha, collapse=alpha == 0.9), seed=seed)
        for n, (alpha, seed) in enumerate(POINTS)
    ]
    handle = replay(config, home / "results" / "default", results, {"alpha": "0.1, 0.5, 0.9"})
    assert handle.parent_run_id
    trials = children(handle.parent_run_id, config.tracking.uri)
    runs = {run.info.run_name: run.info.run_id for run in trials}
    with interface(config, home / "server.log") as port, chromium(home / "profile") as page:
        link = newest_study_url(config.tracking, port)
        assert link
        yield Served(
            page, f"http://127.0.0.1:{port}/#", link, trials[0].info.experiment_id, handle.parent_run_id, runs
        )


def test_the_link_opens_charts_over_the_swept_parameter(served: Served, tmp_path: Path) -> None:
    served.page.open(served.link)
    served.page.says("Comparison", *served.trials, seconds=PATIENCE)
    served.page.wait(
        "[...document.querySelectorAll('.xtitle')].some(title => title.textContent === 'alpha')", PATIENCE
    )
    served.page.wait("document.querySelectorAll('.js-plotly-plot .scatterlayer .point').length >= 3", PATIENCE)
    axes = "[...document.querySelectorAll('.parcoords .label')].map(label => label.textContent)"
    served.page.wait(f"{axes}.includes('alpha') && {axes}.includes('eval/overall')", PATIENCE)
    served.page.picture(tmp_path / "charts.png")


def test_the_table_has_the_trials_best_first_with_their_figures(served: Served, tmp_path: Path) -> None:
    served.page.open(served.link.replace("=CHART", "=TABLE"))
    text = served.page.says("3 matching runs", *served.trials, "eval/overall", "objective/final_kl", seconds=PATIENCE)
    served.page.picture(tmp_path / "table.png")
    assert text.index("alpha=0.1, seed=0") < text.index("alpha=0.9, seed=0")


def test_the_experiment_folds_trials_under_their_study(served: Served, tmp_path: Path) -> None:
    served.page.open(f"{served.base}/experiments/{served.experiment}/runs?compareRunsMode=TABLE")
    served.page.says("default", "4 matching runs", seconds=PATIENCE)
    served.page.picture(tmp_path / "folded.png")
    assert not any(name in served.page.text() for name in served.trials)
    served.page.wait("[...document.querySelectorAll('.ag-row button')].some(b => (b.click(), true))", PATIENCE)
    served.page.says("default", *served.trials, seconds=PATIENCE)
    served.page.picture(tmp_path / "unfolded.png")


def test_a_trials_page_explains_itself(served: Served, tmp_path: Path) -> None:
    served.page.open(f"{served.base}/experiments/{served.experiment}/runs/{served.trials['alpha=0.9, seed=0']}")
    served.page.says("length collapse (certain)", "0.9*base", "The study and its comparison", seconds=PATIENCE)
    target = served.page.ask("[...document.querySelectorAll('a')].find(a => a.innerText.startsWith('The study')).href")
    assert target.endswith(f"#/runs/{served.parent}")
    served.page.wait("[...document.images].some(i => i.src.includes('curves.png') && i.naturalWidth > 500)", PATIENCE)
    served.page.picture(tmp_path / "trial.png")


def test_the_studys_page_has_recommendation_and_comparison(served: Served, tmp_path: Path) -> None:
    served.page.open(f"{served.base}/experiments/{served.experiment}/runs/{served.parent}")
    words = ("best/overall", "best/alpha", "recommended\n: alpha=0.1\n", "length collapse (certain)")
    served.page.says(*words, seconds=PATIENCE)
    served.page.picture(tmp_path / "study.png")


def test_the_comparison_shows_runs_side_by_side(served: Served, tmp_path: Path) -> None:
    runs = quote(json.dumps(list(served.trials.values())))
    served.page.open(f"{served.base}/compare-runs?runs={runs}&experiments={quote(json.dumps([served.experiment]))}")
    text = served.page.says(*served.trials, "Parallel Coordinates Plot", "eval/overall", seconds=PATIENCE)
    served.page.picture(tmp_path / "compare.png")
    line = next(line for line in text.splitlines() if line.startswith("alpha\t"))
    assert sorted(line.split("\t")[1:]) == ["0.1", "0.5", "0.9"]
