"""report.html as a reader's browser shows it: figures drawn, in light and in dark, on paper, with no network."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bai_sweep.records import StepTelemetry, TrialResult
from bai_sweep.report import Side, StudyReport, compared, paired, write_comparison, write_figures, write_html
from bai_sweep.report._palette import Theme, palette
from bai_sweep.selection import choose
from tests.browser import CHROMIUM, NAMES, QUIET
from tests.synthetic import BENCHMARKS, RULE, realistic

ONE_SHOT = [*QUIET, "--hide-scrollbars", "--enable-logging=stderr", "--virtual-time-budget=10000"]
TALL = "--window-size=1200,7000"  # figures are drawn as they come into view
TITLES = [
    *("Overall", *BENCHMARKS),
    *("Overall score and worst severity", "Overall score and final KL"),
    *("Reward", "Response length", "KL to the reference"),
    *("Entropy", "Repetition"),
    "Reward against KL",
    "Weights",
    *("Time of a trial", "Speed of PPO"),
]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=f"no Chromium found (looked for {', '.join(NAMES)})")


def measured(result: TrialResult) -> TrialResult:
    """The trial with more of the telemetry."""
    more = {"policy/entropy_avg": 0.3, "completions/repetition_ratio": 0.1}
    steps = (StepTelemetry(s.step, {**s.metrics, **more, "episode": 32.0 * s.step}) for s in result.telemetry)
    return replace(result, telemetry=tuple(steps))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyReport:
    results = tuple(
        map(
            measured,
            (
                realistic(0, 0.1, skill=0.72),
                realistic(1, 0.5, skill=0.6),
                realistic(2, 0.9, skill=0.55, collapse=True),
            ),
        )
    )
    rule = RULE.model_copy(update={"bootstrap": 500})
    command = "python -m bai_sweep -m alpha=0.1,0.5,0.9"
    folder = tmp_path_factory.mktemp("study")
    return StudyReport("browser", folder, command, results, choice=choose(results, rule, seed=0))


@pytest.fixture(scope="module")
def page(study: StudyReport) -> Path:
    images = write_figures(study, study.folder / "figures", formats=("svg",))
    return write_html(study, study.folder / "report.html", images=images)


def browse(page: Path, profile: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    command = [CHROMIUM, *ONE_SHOT, f"--user-data-dir={profile}", *arguments, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr, done.stderr  # an error, a warning, or a refused request
    return done


def body_of(page: Path, profile: Path) -> str:
    """What was drawn; scripts hold the same words as strings, and stand after it."""
    dom = browse(page, profile, TALL, "--dump-dom").stdout
    return dom[dom.index("<body") : dom.index("<script", dom.index("<body"))]


def test_a_reader_sees_the_decision_and_every_figure(page: Path, study: StudyReport, tmp_path: Path) -> None:
    drawn = body_of(page, tmp_path)
    words = " ".join(unescape(re.sub(r"<[^>]+>", " ", drawn)).split())
    assert study.choice is not None
    assert words.index("Take alpha = 0.1") < words.index(study.choice.reason) < words.index("The trials")
    assert "Ruled out: 1 of 3 points" in words
    figures = drawn.split("<figure>")[1:]
    assert [unescape(re.findall(r"<b>(.*?)</b>", figure)[0]) for figure in figures] == TITLES
    for title, figure in zip(TITLES, figures, strict=True):
        assert re.search(r'<svg class="main-svg"', figure), title
        assert re.search(r'class="(point|js-line)"[^>]*><?[^>]*d="M|class="(point|js-line)"[^>]* d="M', figure), title
    lines = {title: figure.count('class="js-line"') for title, figure in zip(TITLES, figures, strict=True)}
    assert lines["Reward"] == lines["Response length"] == lines["KL to the reference"] == 6  # raw and smoothed
    assert lines["Reward against KL"] == 3
    assert figures[TITLES.index("Response length")].count('class="point"') == 1  # the onset of the collapse
    assert figures[TITLES.index("Reward")].count('class="point"') == 2  # onset and recovery


@pytest.mark.parametrize(("theme", "setting"), [("light", 1), ("dark", 0)])
def test_the_page_is_coloured_in_both_themes(page: Path, tmp_path: Path, theme: Theme, setting: int) -> None:
    for _ in range(3):  # on a busy machine Chromium may take the picture before the figures' frame
        pixels = shot(page, tmp_path, setting, "1200,5200")
        found = [near(pixels, colour) for colour in palette(3, theme)]
        if min(found) > 1500:
            break
    assert len(pixels) == 1200 * 5200
    assert min(found) > 1500  # more than its legend chips and bars have
    paper = {"light": "#ffffff", "dark": "#14171a"}[theme]
    assert 0.5 < near(pixels, paper) / len(pixels) < 0.98


def test_a_narrow_screen_has_no_sideways_scroll(page: Path, tmp_path: Path) -> None:
    """The page says by its title whether it is wider than the window: only tables may be, in a box of their own."""
    asking = "<script>addEventListener('load', () => { document.title = `wide ${document.body.scrollWidth} of ${innerWidth}` })</script>"  # noqa: E501
    copy = tmp_path / "narrow.html"
    copy.write_text(page.read_text(encoding="utf-8").replace("</body>", f"{asking}</body>"), encoding="utf-8")
    dom = browse(copy, tmp_path / "profile", "--window-size=500,1200", "--dump-dom").stdout
    found = re.search(r"<title>wide (\d+) of (\d+)</title>", dom)
    assert found is not None
    assert int(found[1]) <= int(found[2])


def test_paper_is_white_with_static_figures(page: Path, tmp_path: Path) -> None:
    """A reader in dark prints: the style for paper is put on the screen to be looked at, and a PDF is made."""
    text = (
        page.read_text(encoding="utf-8").replace("@media print", "@media all").replace("@media screen", "@media tty")
    )
    copy = tmp_path / "paper.html"
    copy.write_text(text, encoding="utf-8")
    pixels = shot(copy, tmp_path, 0, "794,4000")
    assert near(pixels, "#ffffff") / len(pixels) > 0.7
    for colour in palette(3, "light"):
        assert near(pixels, colour) > 1500
    assert text.count('<img class="paper"') == 7
    pdf = tmp_path / "report.pdf"
    browse(page, tmp_path / "printing", "--no-pdf-header-footer", f"--print-to-pdf={pdf}")
    assert 3 <= len(re.findall(rb"/Type /Page\b", pdf.read_bytes())) <= 12


def test_the_page_of_two_studies_is_drawn(study: StudyReport, tmp_path: Path) -> None:
    other = replace(study, name="other", results=tuple(map(measured, (realistic(5, 0.1, skill=0.6),))), choice=None)
    comparison = compared([Side(study, {"rl.kl_coef": "0.1"}), Side(other, {"rl.kl_coef": "0.2"})])
    drawn = body_of(write_comparison(comparison, paired(comparison), tmp_path / "out"), tmp_path / "profile")
    assert drawn.count('<svg class="main-svg"') >= 4 + 5
    words = " ".join(unescape(re.sub(r"<[^>]+>", " ", drawn)).split())
    assert "rl.kl_coef 0.1 0.2" in words
    assert "browser - other" in words


def shot(page: Path, folder: Path, setting: int, size: str) -> np.ndarray:
    """The page's pixels; `setting` is 0 for a reader who prefers dark."""
    path = folder / "shot.png"
    scheme = f"--blink-settings=preferredColorScheme={setting}"
    browse(page, folder / "profile", scheme, f"--window-size={size}", f"--screenshot={path}")
    return np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)


def near(pixels: np.ndarray, colour: str) -> int:
    rgb = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)])
    return int((np.abs(pixels.astype(int) - rgb).max(axis=1) <= 6).sum())
