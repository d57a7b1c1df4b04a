"""Standard output for tables."""

from __future__ import annotations

from rich.console import Console

WIDTH = 200


def output() -> Console:
    """As wide as the terminal; a file or a pipe has no width to keep to, and names in it are not to be cut."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)
