"""Answers that are plain rational numbers, compared exactly and without a library."""

from __future__ import annotations

import re
from fractions import Fraction

_UNSIGNED = r"(?:\d+(?:\.\d*)?|\d{1,3}(?:,\d{3})+(?:\.\d+)?)"
_NUMBER = re.compile(rf"([+-]?)({_UNSIGNED})")
_SLASHED = re.compile(rf"([+-]?)\(?([+-]?{_UNSIGNED})/([+-]?{_UNSIGNED})\)?")
_FRACTION = re.compile(rf"([+-]?)(\d*)\\frac\{{([+-]?{_UNSIGNED})\}}\{{([+-]?{_UNSIGNED})\}}")
_BASED = re.compile(r"(\d+)_\{?(\d+)\}?")


def rational(text: str) -> Fraction | None:
    r"""The value of `-3`, `10,080`, `0.5`, `3/4`, `-\frac{1}{2}`, `1\frac{4}{5}`; None for anything else.

    Args:
        text: Normalised. Digits in groups of three after commas are one number.
    """
    if match := _NUMBER.fullmatch(text):
        return _sign(match[1]) * _value(match[2])
    if match := _SLASHED.fullmatch(text):
        return _quotient(_sign(match[1]), "", match[2], match[3])
    if match := _FRACTION.fullmatch(text):
        return _quotient(_sign(match[1]), match[2], match[3], match[4])
    return None


def numeral_in_base(text: str) -> tuple[str, str] | None:
    """Digits and base of `2516_8` or `2516_{8}`, without leading zeros; None for anything else."""
    match = _BASED.fullmatch(text)
    return (match[1].lstrip("0") or "0", match[2]) if match else None


def _sign(sign: str) -> int:
    return -1 if sign == "-" else 1


def _value(digits: str) -> Fraction:
    return Fraction(digits.replace(",", "").rstrip("."))


def _quotient(sign: int, whole: str, numerator: str, denominator: str) -> Fraction | None:
    top, bottom = _value(numerator), _value(denominator)
    if bottom == 0:
        return None
    return sign * (Fraction(whole or 0) + top / bottom)
