"""Numbers as people read them."""

from __future__ import annotations


def size(count: float) -> str:
    """Bytes: `20.1 MB`, in powers of 1000 as disks are sold."""
    return f"{rate(count)}B"


def rate(count: float) -> str:
    """A count with the prefix of its unit, which the caller appends: `312 T`."""
    for factor, prefix in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= factor:
            return f"{count / factor:.3g} {prefix}"
    return f"{count:.3g} "


def time(seconds: float) -> str:
    """`0.11 s`, `59 s`, `4 min`, `2 h 05 min`, `3.2 days`: about two digits, as an estimate has."""
    if seconds < 90:
        return f"{seconds:.2g} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes / 1440:.1f} days"


def count(number: float) -> str:
    """`9,600`."""
    return f"{number:,.0f}"
