"""report.html: one file with everything in it, to be read without a network."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from bai_sweep.report._gallery import Legend, gallery, legend
from bai_sweep.report._palette import hues
from bai_sweep.report._plotly import plot
from bai_sweep.report._sections import (
    comparison_section,
    cost_section,
    decision,
    figure_section,
    paper_section,
    recipes_section,
    repeat_section,
    standings_section,
    unfinished_section,
)
from bai_sweep.report._spec import Figure
from bai_sweep.report._study import StudyReport
from bai_sweep.report._text import text
from bai_sweep.report._write import write_text

_LARGEST = 400_000  # bytes of an SVG that stands in the page for paper; a larger one is a PNG


def write_html(study: StudyReport, path: Path, *, images: Sequence[Path] = ()) -> Path:
    """Writes the report, complete or not at all.

    Args:
        study: what it shows.
        path: of the page.
        images: the figures' files, as `write_figures` returns them, which the page shows on paper.

    Returns:
        `path`.
    """
    figures, colours = gallery(study), legend(study)
    shown = {figure.key: figure for figure in figures}
    printed = for_paper(images)

    def drawn(key: str) -> str:
        return figure_section(shown.get(key), colours, printed.get(key, ""))

    body = [
        decision(study),
        unfinished_section(study),
        comparison_section(study),
        standings_section(study),
        *map(drawn, ("score_vs_alpha", "score_vs_stability", "curves", "dynamics", "kl_vs_reward", "merge_geometry")),
        paper_section(study),
        cost_section(study, shown.get("cost"), colours, printed.get("cost", "")),
        recipes_section(study),
        repeat_section(study),
    ]
    return write_text(path, page(study.name, "".join(body), figures, colours))


def for_paper(images: Sequence[Path]) -> dict[str, str]:
    """The figures' files as addresses that hold them, by key: the SVG, or of a large one the PNG."""
    found: dict[str, str] = {}
    for path in sorted(images, key=lambda path: path.suffix):  # .svg after .png
        small = path.stat().st_size <= _LARGEST
        kind = {".png": "image/png", ".svg": "image/svg+xml"}.get(path.suffix)
        if kind and (small or path.stem not in found):
            found[path.stem] = f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
    return found


def page(title: str, body: str, figures: Sequence[Figure], colours: Legend) -> str:
    """A whole page: its style, its body, and its figures with what draws them."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{text(title)} - bai_sweep</title>
<style>
{_asset("page.css")}
{_colours(colours)}
</style>
</head>
<body>
<main>
{body}
</main>
{_scripts(figures, colours)}
</body>
</html>
"""


def _colours(colours: Legend) -> str:
    """The points' colours and the fixed hues as CSS variables, in both themes."""
    light = _rule({"slot": colours.slots["light"], "hue": hues("light")})
    dark = _rule({"slot": colours.slots["dark"], "hue": hues("dark")})
    return f"{light}\n@media screen and (prefers-color-scheme: dark) {{ {dark} }}"


def _rule(named: Mapping[str, Sequence[str]]) -> str:
    listed = " ".join(f"--{name}-{k}: {colour};" for name, found in named.items() for k, colour in enumerate(found))
    return f":root {{ {listed} }}"


def _scripts(figures: Sequence[Figure], colours: Legend) -> str:
    if not figures:
        return ""
    from plotly.offline import get_plotlyjs

    data = {
        "plots": [plot(panel) for figure in figures for panel in figure.panels],
        "colours": {theme: {"slot": colours.slots[theme], "hue": hues(theme)} for theme in ("light", "dark")},
    }
    # `</` would end the script element from inside a string.
    embedded = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("</", "<\\/")
    return (
        f"<script>{get_plotlyjs()}</script>\n"
        f'<script type="application/json" id="data">{embedded}</script>\n'
        f"<script>{_asset('page.js')}</script>"
    )


def _asset(name: str) -> str:
    return files("bai_sweep.report").joinpath(name).read_text(encoding="utf-8")
