"""The bar that a merge shows on a terminal."""

from __future__ import annotations

import io
import threading

import pytest

from bai_sweep.merging.command import _progress
from bai_sweep.merging.command._progress import ProgressBar, size


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, as the bar reads it."""
    now = [100.0]
    monkeypatch.setattr(_progress.time, "monotonic", lambda: now[0])
    monkeypatch.setenv("COLUMNS", "120")
    return now


def test_a_terminal_sees_bytes_rate_and_time_left(clock: list[float]) -> None:
    terminal = Terminal()
    with ProgressBar(1000, 4_000_000, terminal) as bar:
        clock[0] += 2.0
        bar.advance(250)
        drawn = terminal.getvalue()

    assert " 25%  1 MB of 4 MB  500 kB/s  ETA 6 s" in drawn
    assert drawn.count("━") == 10
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_the_end_says_what_is_still_done(clock: list[float]) -> None:
    terminal = Terminal()
    with ProgressBar(1000, 4_000_000, terminal) as bar:
        clock[0] += 2.0
        bar.advance(1000)

    assert "100%  4 MB of 4 MB  2 MB/s  ETA 0 s; digests of the inputs" in terminal.getvalue()


def test_a_pipe_stays_silent(clock: list[float]) -> None:
    pipe = io.StringIO()
    with ProgressBar(1000, 4_000_000, pipe) as bar:
        clock[0] += 2.0
        bar.advance(1000)

    assert not pipe.getvalue()


def test_a_fast_merge_is_not_drawn_for_every_block(clock: list[float]) -> None:
    terminal = Terminal()
    with ProgressBar(1000, 4_000_000, terminal) as bar:
        for _ in range(10):
            clock[0] += _progress.REDRAW / 4
            bar.advance(10)
        drawn = terminal.getvalue().count("merging")

    assert drawn == 2


def test_blocks_of_many_threads_are_all_counted(clock: list[float]) -> None:
    terminal = Terminal()
    with ProgressBar(4 * 500 * 3 + 1, 100, terminal) as bar:
        threads = [threading.Thread(target=lambda: [bar.advance(3) for _ in range(500)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        clock[0] += 1.0
        bar.advance(1)

    assert "100%" in terminal.getvalue()


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (988_097_824, "988 MB"),
        (999_600, "1 MB"),
        (3.21e12, "3.21 TB"),
    ],
)
def test_sizes_are_in_powers_of_ten(count: float, said: str) -> None:
    assert size(count) == said


class Hung(Terminal):
    """A terminal whose window was closed."""

    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")


def test_a_terminal_that_is_closed_ends_the_bar_and_not_the_merge(clock: list[float]) -> None:
    with ProgressBar(1000, 4_000_000, Hung()) as bar:
        for _ in range(2):
            clock[0] += 2.0
            bar.advance(250)

    assert clock[0] == 104.0


def test_a_standard_error_that_was_closed_has_no_bar(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    with ProgressBar(1000, 4_000_000) as bar:
        clock[0] += 2.0
        bar.advance(250)

    assert clock[0] == 102.0
