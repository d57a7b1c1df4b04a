"""What of a text has a meaning of its own in HTML and in plotly."""

from __future__ import annotations

import html
import re

_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+(?=@)")


def text(value: object) -> str:
    """Anything as HTML text."""
    return html.escape(str(value))


def safe(value: str) -> str:
    """Text from a configuration, without the passwords that an address may carry."""
    return text(unsigned(value))


def unsigned(value: str) -> str:
    """An address without its password."""
    return _CREDENTIALS.sub("***", value)


def hover(value: str) -> str:
    """Plotly reads hover text as a small HTML, and `%{` as a place to fill."""
    return value.replace("&", "&amp;").replace("<", "&lt;").replace("%{", "% {")
