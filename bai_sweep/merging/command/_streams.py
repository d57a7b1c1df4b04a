"""What the command says, where nobody may listen: a message that cannot be printed is no failed merge."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import TextIO

from bai_sweep.records import UserError


def prepare() -> None:
    """Makes the standard streams safe to use.

    The number of one that was closed (`2>&-`) would be that of the next file to be opened, a model's for one, and
    whatever a library says there would land in it. A text that the stream's encoding lacks is shown with escapes.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None where it was closed
            stream.reconfigure(errors="backslashreplace")


def say(text: str, *, errors: bool = False) -> None:
    """Prints to standard output, or standard error; a reader who has gone or a full disk is no fault of a merge."""
    with suppress(OSError):
        _print(text, sys.stderr if errors else sys.stdout)


def show(text: str) -> None:
    """Prints what the command was asked for; who stops reading it (`| head -1`) has had enough.

    Raises:
        UserError: It cannot be printed.
    """
    try:
        _print(text, sys.stdout)
    except BrokenPipeError:
        pass
    except OSError as error:
        raise UserError(f"standard output cannot be written to: {error.strerror}; write it elsewhere") from error


def _print(text: str, stream: TextIO | None) -> None:
    if stream is None:
        return
    try:
        print(text, file=stream, flush=True)
    except OSError:
        _discard(stream)
        raise


def _discard(stream: TextIO) -> None:
    """What is left of the text, and all that follows, goes nowhere: Python would try once more at its end and fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, stream.fileno())
    finally:
        os.close(nowhere)
