"""The command's beginning and end: its arguments, and what it exits with."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

DONE, FAILED, MISUSED, STOPPED = 0, 1, 2, 130


def main(arguments: Sequence[str]) -> int:
    """Merges, or says why not in one message.

    Returns:
        The exit code: 0, 1 where the models or the disk are at fault, 2 where an argument is, 130 after a Ctrl-C.
    """
    if not arguments or {"-h", "--help"} & set(arguments):
        from bai_sweep.merging.command._help import usage

        print(usage(), file=sys.stdout if arguments else sys.stderr)
        return DONE if arguments else MISUSED
    try:
        return _merge(arguments)
    except KeyboardInterrupt:
        print("stopped: nothing was merged", file=sys.stderr)
        return STOPPED


def _merge(arguments: Sequence[str]) -> int:
    from bai_sweep.merging.command._arguments import settings_of
    from bai_sweep.records import UserError

    try:
        settings = settings_of(arguments)
    except UserError as error:
        print(error, file=sys.stderr)
        return MISUSED
    from bai_sweep.merging.command._run import run

    try:
        run(settings, shlex.join(["python", "-m", "bai_sweep.merge", *arguments]))
    except UserError as error:
        print(error, file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        if not settings.folder.exists():
            raise
        print(f"stopped: {settings.folder} is whole", file=sys.stderr)
        return STOPPED
    return DONE
