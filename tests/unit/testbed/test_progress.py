"""The build's display: bars on a terminal, a line for each tenth of a stage elsewhere."""

import io

from rich.console import Console

from bai_sweep.testbed._progress import Progress


def run(console: Console) -> str:
    with Progress({"base": 40}, console) as progress:
        on_step = progress.stage("base")
        for _ in range(40):
            on_step(1.5)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_plain_lines_when_not_a_terminal() -> None:
    lines = run(Console(file=io.StringIO(), force_terminal=False)).splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("base: step 4 of 40, loss 1.500")


def test_a_bar_on_a_terminal() -> None:
    shown = run(Console(file=io.StringIO(), force_terminal=True, width=120))
    assert "40/40" in shown
    assert "base: step" not in shown
