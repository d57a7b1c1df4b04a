"""Small pieces of HTML: tables, figures, legends."""

from __future__ import annotations

from collections.abc import Sequence

from bai_sweep.report._gallery import Legend
from bai_sweep.report._plotly import PATTERNS
from bai_sweep.report._spec import Figure, Panel, Trace
from bai_sweep.report._table import Table
from bai_sweep.report._text import text


def table_html(table: Table) -> str:
    """A table, its note below."""
    head = "".join(f"<th>{text(name)}</th>" for name in table.columns)
    rows = []
    for i, row in enumerate(table.rows):
        cells = [f"<b>{text(cell)}</b>" if (i, j) in table.best else text(cell) for j, cell in enumerate(row)]
        rows.append(f"<tr><th>{cells[0]}</th>{''.join(f'<td>{cell}</td>' for cell in cells[1:])}</tr>")
    note = f'<p class="small">{text(table.note)}</p>' if table.note else ""
    body = "".join(rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{note}'


def figure_html(figure: Figure, colours: Legend, image: str = "") -> str:
    """Legend, panels and note; on paper the image instead of the panels, if there is one (a data: address)."""
    panels = "".join(map(_panel, figure.panels))
    wide = " wide" if len(figure.panels) in (1, 2, 4) else ""
    paper = f'<img class="paper" alt="{text(figure.title)}" src="{image}">' if image else ""
    kept = " drawn" if image else ""
    note = f'<p class="small">{text(figure.note)}</p>' if figure.note else ""
    legend = f'<div class="{kept.strip()}">{legend_html(colours)}</div>' if figure.legend else ""
    return f'{legend}<div class="grid{wide}{kept}">{panels}</div>{paper}{note}'


def legend_html(colours: Legend) -> str:
    """A button for each point, or the scale that many are coloured by."""
    if not colours.entries:
        low, high = colours.ends
        cells = "".join(
            f'<i style="background:var(--slot-{slot})"></i>' for slot in range(len(colours.slots["light"]))
        )
        return f'<p class="scale">{text(low)} <span>{cells}</span> {text(high)}</p>' if low else ""
    chips = "".join(
        f'<button type="button" data-slot="{entry.slot}" aria-pressed="true">'
        f"{stroke(f'var(--slot-{entry.slot})', entry.dash)}{text(entry.label)}</button>"
        for entry in colours.entries
    )
    return f'<div class="legend" title="click to hide or show a line">{chips}</div>'


def stroke(colour: str, dash: Sequence[int]) -> str:
    """A sample of a line, or without a dash of any colour."""
    dashes = f' stroke-dasharray="{" ".join(map(str, dash))}"' if dash else ""
    return f'<svg class="stroke" viewBox="0 0 28 8"><path d="M0 4H28" style="stroke:{colour}"{dashes}/></svg>'


def _panel(panel: Panel) -> str:
    unit = f" {text(panel.unit)}" if panel.unit else ""
    return (
        f'<figure><figcaption><b>{text(panel.title)}</b>{unit}</figcaption><div class="plot" id="{text(panel.key)}" '
        f'role="img" aria-label="{text(panel.title)}"></div>{_key(panel)}</figure>'
    )


def _key(panel: Panel) -> str:
    """What the fixed hues of a panel stand for."""
    named = {t.name: t for t in panel.traces if panel.named and t.name and t.colour.startswith("hue")}
    items = "".join(f"<li>{_sample(trace, k)}{text(name)}</li>" for k, (name, trace) in enumerate(named.items()))
    return f'<ul class="key">{items}</ul>' if items else ""


def _sample(trace: Trace, place: int) -> str:
    colour = f"var(--{trace.colour.replace(':', '-')})"
    if trace.kind == "bars":
        return f'<i class="swatch" style="background:{colour}">{text(PATTERNS[place % len(PATTERNS)])}</i>'
    return stroke(colour, trace.dash)
