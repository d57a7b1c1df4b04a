"""Colours that readers with any colour vision tell apart, on white and on black.

Few points take the hues of Okabe and Ito (2008), darkened or lightened for the background; more than those take
cividis (Nunez et al. 2018, PLoS ONE 13(7)), by the ratio or in the order of the points.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Theme = Literal["light", "dark"]

_HUES: dict[Theme, tuple[str, ...]] = {
    "light": ("#0072b2", "#d55e00", "#009e73", "#b0528a", "#c28a00", "#5d3a9b", "#4aa5d9", "#5c5c5c"),
    "dark": ("#4aa8e8", "#ff8c4d", "#2fcb9d", "#e592c0", "#f2bf45", "#b79cf2", "#9ddcff", "#b8b8b8"),
}
_CIVIDIS = ("#00224e", "#2a3f6d", "#575c6d", "#7d7c78", "#a69d75", "#d3c164", "#fee838")
_KEPT: dict[Theme, tuple[float, float]] = {"light": (0.0, 0.85), "dark": (0.3, 1.0)}  # what contrasts with the page
FEW = 8
"""Points up to which each has a hue of its own."""


def palette(count: int, theme: Theme, scale: Sequence[float] = ()) -> list[str]:
    """`count` colours as #rrggbb, the same slots in both themes.

    Args:
        count: how many.
        theme: of the page.
        scale: of many, where each stands between 0 and 1; empty: evenly, in their order.
    """
    if count <= FEW:
        return list(hues(theme)[:count])
    low, high = _KEPT[theme]
    places = scale or [k / (count - 1) for k in range(count)]
    return [_cividis(low + (high - low) * place) for place in places]


def hues(theme: Theme) -> tuple[str, ...]:
    """The fixed hues, for what is not a point of the search space."""
    return _HUES[theme]


def _cividis(place: float) -> str:
    at = place * (len(_CIVIDIS) - 1)
    k = min(int(at), len(_CIVIDIS) - 2)
    mixed = [a + (b - a) * (at - k) for a, b in zip(_rgb(_CIVIDIS[k]), _rgb(_CIVIDIS[k + 1]), strict=True)]
    return "#" + "".join(f"{round(channel):02x}" for channel in mixed)


def _rgb(colour: str) -> list[int]:
    return [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
