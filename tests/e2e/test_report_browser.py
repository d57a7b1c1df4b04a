"""report.html as a reader's browser shows it: its figures drawn, in light and in dark, with no network."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bai_sweep.report import StudyReport, write_html
from bai_sweep.report._palette import Theme, palette
from bai_sweep.selection import choose
from tests.synthetic import BENCHMARKS, RULE, realistic

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--virtual-time-budget=10000",
    "--window-size=1200,2400",
]
PLOTS = 3 + 1 + len(BENCHMARKS)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=f"no Chromium found (looked for {', '.join(NAMES)})")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    results = (
        realistic(0, 0.1, skill=0.72),
        realistic(1, 0.5, skill=0.6),
        realistic(2, 0.9, skill=0.55, collapse=True),
    )
    rule = RULE.model_copy(update={"bootstrap": 500})
    command = "python -m bai_sweep -m alpha=0.1,0.5,0.9"
    study = StudyReport("browser", folder, command, results, choice=choose(results, rule, seed=0))
    return write_html(study, folder / "report.html")


def browse(page: Path, profile: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    command = [CHROMIUM, *QUIET, f"--user-data-dir={profile}", *arguments, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr, done.stderr  # an error, a warning, or a refused request
    return done


def test_every_figure_is_drawn(page: Path, tmp_path: Path) -> None:
    dom = browse(page, tmp_path, "--dump-dom").stdout
    # Scripts hold the same words as strings; what was drawn stands before them.
    drawn = dom[dom.index("<body") : dom.index("<script", dom.index("<body"))]
    figures = drawn.split("<figure>")[1:]
    assert len(figures) == PLOTS
    for figure in figures:
        assert re.search(r'<svg class="main-svg"', figure)
        assert 'class="scatterlayer' in figure
        assert re.search(r'class="(point|js-line)"[^>]* d="M', figure), "axes without any data"
    lines = [figure.count('class="js-line"') for figure in figures]
    assert sorted(lines)[-3:] == [6, 6, 6]  # raw and smoothed, of three trials, in three panels


@pytest.mark.parametrize(("theme", "setting"), [("light", 1), ("dark", 0)])
def test_the_page_is_coloured_in_both_themes(page: Path, tmp_path: Path, theme: Theme, setting: int) -> None:
    shot = tmp_path / "report.png"
    browse(page, tmp_path / "profile", f"--blink-settings=preferredColorScheme={setting}", f"--screenshot={shot}")
    pixels = np.asarray(Image.open(shot).convert("RGB")).reshape(-1, 3)
    assert len(pixels) == 1200 * 2400
    for colour in palette(3, theme):
        assert near(pixels, colour) > 1500  # more than its legend chips and bars have
    paper = {"light": "#ffffff", "dark": "#14171a"}[theme]
    assert 0.5 < near(pixels, paper) / len(pixels) < 0.98


def near(pixels: np.ndarray, colour: str) -> int:
    rgb = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)])
    return int((np.abs(pixels.astype(int) - rgb).max(axis=1) <= 6).sum())
