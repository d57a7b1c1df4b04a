"""The report's pieces on invented studies: what stands in each table, page and figure, and what must not."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from bai_sweep.records import Choice, NextTrials, Score, TrialResult, UserError
from bai_sweep.report import (
    StudyReport,
    TrialSetting,
    comparison,
    load_study,
    markdown,
    paradigms_table,
    print_study,
    ratio_table,
    records,
    write_figures,
    write_html,
    write_tables,
)
from bai_sweep.report._gallery import gallery
from bai_sweep.report._palette import palette
from bai_sweep.report._series import CURVES, marks, smooth
from tests.synthetic import BENCHMARKS, realistic, score, trial, verdict


def choice(winner: int | None, *others: int, barred: dict[int, str] | None = None, clear: bool = True) -> Choice:
    ranking = () if winner is None else (winner, *others)
    probability = dict.fromkeys(barred or {}, 0.0) | dict.fromkeys(others, 0.0)
    if winner is not None:
        probability[winner] = 1.0
    return Choice(winner, ranking, probability, barred or {}, "because <it> leads & wins", clear)


@pytest.fixture
def study() -> StudyReport:
    results = (
        realistic(1, 0.5, skill=0.6),
        realistic(0, 0.1, skill=0.75),
        realistic(2, 0.9, skill=0.5, collapse=True),
    )
    picked = choice(0, 1, barred={2: "length collapse is certain from step 4"})
    return StudyReport(
        "mine", Path("results/mine"), "python -m bai_sweep -m alpha=0.1,0.5,0.9", results, choice=picked
    )


def shown(study: StudyReport, width: int, terminal: bool = False) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=terminal)
    print_study(study, console)
    written: str = console.file.getvalue()  # type: ignore[attr-defined]
    return written


# --- tables ---------------------------------------------------------------------------------------------------------


def test_comparison_has_a_row_per_trial_in_the_order_of_alpha(study: StudyReport) -> None:
    table = comparison(study)
    assert table.columns == ("trial", "alpha", "overall", *BENCHMARKS, "KL", "length", "verdict")
    assert [row[:2] for row in table.rows] == [("0*", "0.1"), ("1", "0.5"), ("2", "0.9")]
    first = study.results[1].report
    assert table.rows[0][2] == f"{first.overall:.1f} ± {first.overall_stderr:.1f}"
    assert table.rows[2][-3:] == ("6.60", "0.42x", "length collapse (certain), reward hockey stick (certain)")


def test_absent_figures_are_dashes() -> None:
    untrained = trial(0, {}, scores=[score("knowledge", [0.0, 100.0])], final_kl=math.nan, length_ratio=math.nan)
    row = comparison(StudyReport("s", Path("s"), "", (untrained,))).rows[0]
    assert row == ("0", "50.0 ± 50.0", "50.0 ± 50.0", "-", "-", "stable")


@pytest.mark.parametrize("width", [80, 100])
def test_the_terminal_cuts_nothing_off(study: StudyReport, width: int) -> None:
    text = shown(study, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert "\x1b" not in text
    for expected in ("knowledge", "arithmetic", "arena", "KL", "length", "0*", "0.42x", "unstable", "stable"):
        assert expected in text
    assert "Take alpha=0.1. because <it> leads & wins" in text
    assert "trial 2: length collapse (certain) from step 4; reward hockey stick (certain) from step 3" in " ".join(
        text.split()
    )
    assert "report   results/mine/report.html" in text


def test_what_a_reader_copies_is_one_line(study: StudyReport) -> None:
    command = "python -m bai_sweep -m alpha=0.18090452261306533 seed=1,2 study=mine-next 'selection.also=[a]'"
    assert study.choice
    asked = replace(study.choice, next_trials=(NextTrials(("seed=1,2",), 2, "to be surer", command),))
    text = shown(replace(study, choice=asked, link="http://127.0.0.1:5000/#/" + "x" * 90), 80)
    assert command in text.splitlines()
    assert "compare  http://127.0.0.1:5000/#/" + "x" * 90 in text.splitlines()


def test_the_terminal_styles_only_a_terminal(study: StudyReport) -> None:
    assert "\x1b[1m" in shown(study, 100, terminal=True)


def test_many_benchmarks_get_a_terminal_table_of_their_own(study: StudyReport) -> None:
    names = [f"benchmark_{k}" for k in range(9)]
    wide = tuple(
        replace(r, report=replace(r.report, scores=tuple(score(n, [0.0, 100.0]) for n in names)))
        for r in study.results
    )
    text = shown(replace(study, results=wide), 80)
    assert "…" not in text
    assert all(name.replace("_", " ") in text or name in text for name in names)


def test_terminal_says_what_did_not_finish_and_where_to_compare(study: StudyReport) -> None:
    unfinished = replace(
        study, failures={3: "ValueError: bad\n\nTraceback"}, pending=(4,), link="http://localhost:5000/#/x"
    )
    text = shown(unfinished, 100)
    assert "trial 3 failed: ValueError: bad\n" in text
    assert "Traceback" not in text
    assert "trial 4 has not ended" in text
    assert "http://localhost:5000/#/x" in text


def test_terminal_without_a_winner_or_a_clear_one(study: StudyReport) -> None:
    assert "No recommendation. because" in shown(replace(study, choice=choice(None)), 100)
    assert "Take alpha=0.1 (not clear)." in shown(replace(study, choice=choice(0, clear=False)), 100)
    assert "report" in shown(StudyReport("s", Path("s"), "", ()), 80)


def test_markdown_is_a_table_that_a_forge_renders(study: StudyReport) -> None:
    text = markdown(replace(study, failures={3: "a|b\ntrace"}))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert lines[0].startswith("| trial | alpha | overall | knowledge |")
    assert {line.count("|") for line in lines[:5]} == {10}
    assert "because &lt;it> leads" in text
    assert "- trial 3 failed: a\\|b\n" in text


def test_written_tables_hold_the_unrounded_figures(study: StudyReport, tmp_path: Path) -> None:
    as_csv, as_json = write_tables(study, tmp_path)
    rows = json.loads(as_json.read_text())
    assert rows == list(records(study))
    assert rows[0]["eval/overall"] == study.results[1].report.overall
    assert [row["recommended"] for row in rows] == [True, False, False]
    assert rows[2]["ineligible"] == "length collapse is certain from step 4"
    with as_csv.open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [float(row["eval/overall"]) for row in read] == [row["eval/overall"] for row in rows]


# --- the paper's tables ---------------------------------------------------------------------------------------------


def paper_trial(number: int, params: dict[str, object], **scores: float) -> TrialResult:
    return trial(number, params, scores=[Score(k, v, 1.0, 10, "acc") for k, v in scores.items()])


def test_ratio_table_is_the_papers_second() -> None:
    results = (
        paper_trial(0, {"alpha": 0.9}, arenahard=11.0, mmlu=81.0, mmlu_pro=68.0),
        paper_trial(1, {"alpha": 0.1}, arenahard=35.0, mmlu=82.0, mmlu_pro=70.0),
    )
    table = ratio_table(StudyReport("s", Path("s"), "", results))
    assert table is not None
    assert table.columns == ("", "alpha 0.1", "alpha 0.9")
    assert table.rows == (
        ("mmlu_pro", "70.0", "68.0"),
        ("mmlu", "82.0", "81.0"),
        ("arenahard", "35.0", "11.0"),
        ("overall", "62.3", "53.3"),
    )
    assert table.best == {(0, 1), (1, 1), (2, 1), (3, 1)}
    assert "no 0.2, 0.5, 0.7." in table.note
    assert "no SuperGPQA, LiveBench, MixEval-Hard, AIME 2024, MATH, MBPP+." in table.note


def test_paradigms_table_is_the_papers_first() -> None:
    results = (
        paper_trial(0, {"actor": "bai"}, knowledge=60.0),
        paper_trial(1, {"actor": "paradigm3"}, knowledge=70.0),
        paper_trial(2, {"actor": "paradigm1"}, knowledge=65.0),
    )
    table = paradigms_table(StudyReport("s", Path("s"), "", results))
    assert table is not None
    assert table.columns == ("method", "knowledge", "overall")
    assert [row[0] for row in table.rows] == ["Paradigm 1", "Paradigm 3", "BAI"]
    assert table.best == {(1, 1), (1, 2)}
    assert "no Paradigm 2." in table.note


def test_paradigms_table_shows_the_recommended_ratio_only() -> None:
    results = (
        paper_trial(0, {"actor": "bai", "alpha": 0.1}, knowledge=60.0),
        paper_trial(1, {"actor": "bai", "alpha": 0.5}, knowledge=70.0),
        paper_trial(2, {"actor": "paradigm1", "alpha": 0.5}, knowledge=65.0),
    )
    study = StudyReport("s", Path("s"), "", results, choice=choice(0))
    table = paradigms_table(study)
    assert table is not None
    assert [row[0] for row in table.rows] == ["Paradigm 1", "BAI (alpha=0.1)"]
    unchosen = paradigms_table(replace(study, choice=None))
    assert unchosen is not None
    assert unchosen.rows[-1][0] == "BAI (alpha=0.5)"


def test_the_papers_tables_appear_only_with_their_trials(study: StudyReport) -> None:
    assert paradigms_table(study) is None
    assert ratio_table(replace(study, results=study.results[:1])) is None
    weights = tuple(replace(r, params={"weights": {"instruct": 0.1 * r.number}}) for r in study.results)
    assert ratio_table(replace(study, results=weights)) is None


# --- series and figures ---------------------------------------------------------------------------------------------


def test_smoothing_is_a_centred_mean_that_skips_nan() -> None:
    values = np.array([1.0, 2.0, np.nan, 4.0, 5.0, 6.0, 7.0])
    expected = [np.nanmean(values[max(0, k - 2) : k + 3]) for k in range(7)]
    assert smooth(values) == pytest.approx(np.array(expected))
    assert np.isnan(smooth(np.full(5, np.nan))).all()


def test_onset_and_recovery_stand_on_the_curve_of_their_detector() -> None:
    result = realistic(2, 0.9, skill=0.5, collapse=True)
    found = {curve.title: [step for _, step, _ in marks(result, curve)] for curve in CURVES}
    assert found == {"Reward": [3, 14], "Response length": [4], "KL to the reference": []}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("count", [3, 8, 20])
def test_palette_colours_differ_and_contrast_with_the_page(theme: str, count: int) -> None:
    """WCAG 2.2 asks 3:1 of graphics; cividis' pale end, used for many trials, may fall to 1.3."""
    colours = palette(count, theme)  # type: ignore[arg-type]
    assert len(set(colours)) == count
    paper = luminance({"light": "#ffffff", "dark": "#14171a"}[theme])
    ratios = [(max(paper, luminance(c)) + 0.05) / (min(paper, luminance(c)) + 0.05) for c in colours]
    assert min(ratios) >= (2.7 if count <= 8 else 1.3)


def luminance(colour: str) -> float:
    channels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_figures_are_drawn(study: StudyReport, tmp_path: Path) -> None:
    from PIL import Image

    paths = write_figures(study, tmp_path / "figures")
    keys = [figure.key for figure in gallery(study)]
    assert [path.name for path in paths] == [f"{key}.{ending}" for key in keys for ending in ("png", "svg")]
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == sorted(path.name for path in paths)
    for name in ("curves", "score_vs_alpha", "score_vs_stability", "kl_vs_reward"):
        pixels = np.asarray(Image.open(tmp_path / "figures" / f"{name}.png").convert("RGB")).reshape(-1, 3)
        for colour in palette(3, "light"):
            rgb = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
            assert (pixels == rgb).all(axis=1).sum() > 100
    drawn = (tmp_path / "figures" / "score_vs_alpha.svg").read_text()
    assert "alpha, weight of the base model" in drawn
    again = write_figures(study, tmp_path / "again", formats=("svg",), only=("score_vs_alpha",))
    assert [path.read_text() for path in again] == [drawn]


def test_a_study_with_nothing_to_draw_writes_no_figures(tmp_path: Path) -> None:
    empty = StudyReport("s", tmp_path, "", (replace(trial(0, telemetry=()), seconds={}),))
    assert write_figures(empty, tmp_path) == []
    assert "<script" not in write_html(empty, tmp_path / "report.html").read_text()


def test_a_trial_without_rl_stands_beside_trained_ones(study: StudyReport, tmp_path: Path) -> None:
    untrained = trial(9, {"actor": "paradigm2"}, scores=[score("knowledge", [0.0, 100.0])], telemetry=())
    mixed = replace(study, results=(*study.results, untrained))

    drawn = {path.name for path in write_figures(mixed, tmp_path, formats=("png",))}
    assert {"curves.png", "score_vs_alpha.png", "score_vs_stability.png"} <= drawn
    assert "paradigm2" in write_html(mixed, tmp_path / "report.html").read_text()


# --- the page -------------------------------------------------------------------------------------------------------


class Links(HTMLParser):
    """Whatever a page would load, outside its scripts' text."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        loads = ("src", "srcset", "data") if tag != "link" else ("href",)
        self.loaded += [str(value) for name, value in attrs if name in loads]


def test_page_is_self_contained_and_says_the_decision_first(study: StudyReport, tmp_path: Path) -> None:
    page = write_html(study, tmp_path / "deep" / "report.html").read_text(encoding="utf-8")
    links = Links()
    links.feed(page)
    assert links.loaded == []
    assert links.tags.count("script") == 3
    assert "@import" not in page[: page.index("<script")]
    body = page[page.index("<body>") : page.index("<script")]
    assert body.index("Take") < body.index("because &lt;it&gt; leads &amp; wins") < body.index("The trials")
    assert not list(tmp_path.glob("**/*.partial"))
    for text in ("merging ratio", "0.5*base + 0.25*instruct", "python -m bai_sweep -m alpha=0.1,0.5,0.9", "ruled out"):
        assert text in body
    assert "Paradigms against BAI" not in body


def test_page_has_none_of_the_papers_numbers(study: StudyReport, tmp_path: Path) -> None:
    page = write_html(study, tmp_path / "report.html").read_text(encoding="utf-8")
    body = page[page.index("<body>") : page.index("<script")]
    for published in ("82.7", "35.9", "55.2", "51.3", "53.6"):
        assert published not in body


def test_page_escapes_what_trials_say_and_hides_passwords(study: StudyReport, tmp_path: Path) -> None:
    nasty = "</script><script>alert(1)</script>"
    results = tuple(replace(result, params={"alpha": result.params["alpha"], "x": nasty}) for result in study.results)
    setting = TrialSetting("bai", ("alpha=0.1", "resume=true"), "uri: https://me:secret@host/x\n")
    hurt = replace(study, results=results, failures={7: f"{nasty}\n{nasty}"}, settings={0: setting}, pending=(8,))
    page = write_html(hurt, tmp_path / "report.html").read_text(encoding="utf-8")
    assert nasty not in page
    assert "secret" not in page
    assert "https://***@host/x" in page
    assert "python -m bai_sweep alpha=0.1</pre>" in page
    assert "Trial 8 has not ended" in page
    assert "So far, take" in page


def test_page_without_a_winner(study: StudyReport, tmp_path: Path) -> None:
    page = write_html(replace(study, choice=choice(None)), tmp_path / "report.html").read_text(encoding="utf-8")
    assert "No ratio to recommend" in page


def test_a_single_trial_has_a_page_without_a_recommendation(tmp_path: Path) -> None:
    alone = StudyReport("single", tmp_path, "python -m bai_sweep", (realistic(0, 0.5, skill=0.5, params={}),))
    page = write_html(alone, tmp_path / "report.html").read_text(encoding="utf-8")
    body = page[page.index("<body>") : page.index("<script")]
    for words in ("A single trial", "0.5*base + 0.25*instruct + 0.25*distilled. Nothing was compared", "final KL"):
        assert words in body
    assert "bai_sweep.report" not in body
    assert "trials " not in shown(alone, 80)


# --- a study's folder -----------------------------------------------------------------------------------------------


def save(folder: Path, result: TrialResult, config: str = "actor: {name: bai}\n") -> None:
    trial_folder = folder / "trials" / str(result.number)
    (trial_folder / ".hydra").mkdir(parents=True)
    (trial_folder / ".hydra" / "config.yaml").write_text(config)
    (trial_folder / ".hydra" / "overrides.yaml").write_text("- alpha=0.1\n- study=it's\n")
    result.save(trial_folder)


def test_a_folder_is_read_in_mid_study(study: StudyReport, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    for result in study.results[:2]:
        save(folder, result)
    for number in (2, 3, 10):
        (folder / "trials" / str(number)).mkdir()
    (folder / "trials" / "3" / "failure.txt").write_text("RuntimeError: no\n\nTraceback ...\n")
    (folder / "trials" / "1" / "failure.txt").write_text("failed first, then finished")
    read = load_study(folder, command="again", link="http://x")
    assert read.name == "mine"
    assert read.results == tuple(sorted(study.results[:2], key=lambda result: result.number))
    assert read.failure_reasons == {3: "RuntimeError: no"}
    assert read.pending == (2, 10)
    assert read.settings[0].command == "python -m bai_sweep alpha=0.1 'study=it'\"'\"'s'"
    assert (read.command, read.link, read.choice) == ("again", "http://x", None)
    assert "Nothing was compared yet, so nothing is recommended." in write_html(
        read, folder / "report.html"
    ).read_text(encoding="utf-8")


def test_the_actor_comes_from_the_stored_config(tmp_path: Path) -> None:
    save(tmp_path, realistic(0, 0.5, skill=0.5), "actor:\n  name: paradigm3\n")
    study = load_study(tmp_path)
    assert study.actor(study.results[0]) == "paradigm3"
    table = paradigms_table(study)
    assert table is not None
    assert table.rows[0][0] == "Paradigm 3"


def test_bad_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a study's folder holds `trials/`"):
        load_study(tmp_path)
    broken = tmp_path / "trials" / "0"
    broken.mkdir(parents=True)
    (broken / "result.json").write_text('{"number": 0}')
    with pytest.raises(UserError, match=r"result\.json is not a result of this version \(KeyError"):
        load_study(tmp_path)


def test_suspected_faults_and_budgets_are_told_in_the_row(tmp_path: Path) -> None:
    results = (
        trial(
            0,
            {"alpha": 0.1},
            scores=[score("knowledge", [1.0, 2.0])],
            verdicts=[verdict("kl_blow_up", "suspected", 9)],
        ),
        trial(1, {"alpha": 0.2}, scores=[score("knowledge", [1.0, 2.0])]),
    )
    barred = {0: "kl blow up is suspected from step 9", 1: "final KL 9 is over max_kl 5"}
    study = StudyReport("s", tmp_path, "", results, choice=choice(None, barred=barred))
    page = write_html(study, tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("kl blow up (suspected) from step 9") == 1
    assert page.count("final KL 9 is over max_kl 5") == 2  # in the decision and in the row
