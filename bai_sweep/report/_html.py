"""report.html: one file with everything in it, to be read without a network."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

from bai_sweep.report._palette import palette
from bai_sweep.report._plots import Plot, curve_plots, score_plots
from bai_sweep.report._sections import (
    comparison_section,
    curves_section,
    decision,
    paper_section,
    recipes_section,
    repeat_section,
    scores_section,
    standings_section,
    text,
    unfinished_section,
)
from bai_sweep.report._study import StudyReport


def write_html(study: StudyReport, path: Path) -> Path:
    """Writes the report, complete or not at all; returns `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(_page(study), encoding="utf-8")
    return partial.replace(path)


def _page(study: StudyReport) -> str:
    curves, scores = curve_plots(study), score_plots(study)
    body = [
        decision(study),
        unfinished_section(study),
        comparison_section(study),
        standings_section(study),
        scores_section(study, scores),
        curves_section(study, curves),
        paper_section(study),
        recipes_section(study),
        repeat_section(study),
    ]
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{text(study.name)} - bai_sweep</title>
<style>
{_asset("page.css")}
{_colours(study)}
</style>
</head>
<body>
<main>
{"".join(body)}
</main>
{_scripts(study, [*scores, *curves])}
</body>
</html>
"""


def _colours(study: StudyReport) -> str:
    """The trials' colours as CSS variables, in both themes."""
    count = len(study.results)

    def rule(colours: list[str]) -> str:
        return ":root { " + " ".join(f"--slot-{k}: {colour};" for k, colour in enumerate(colours)) + " }"

    light, dark = rule(palette(count, "light")), rule(palette(count, "dark"))
    return f"{light}\n@media screen and (prefers-color-scheme: dark) {{ {dark} }}"


def _scripts(study: StudyReport, plots: list[Plot]) -> str:
    if not plots:
        return ""
    from plotly.offline import get_plotlyjs

    count = len(study.results)
    data = {
        "plots": [asdict(plot) for plot in plots],
        "slots": {"light": palette(count, "light"), "dark": palette(count, "dark")},
    }
    # `</` would end the script element from inside a string.
    embedded = json.dumps(data, allow_nan=False).replace("</", "<\\/")
    return (
        f"<script>{get_plotlyjs()}</script>\n"
        f'<script type="application/json" id="data">{embedded}</script>\n'
        f"<script>{_asset('page.js')}</script>"
    )


def _asset(name: str) -> str:
    return files("bai_sweep.report").joinpath(name).read_text(encoding="utf-8")
