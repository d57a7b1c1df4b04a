"""The command's beginning and end: its arguments, and what it exits with."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

from bai_sweep.merging.command._signals import Stopped, stopping
from bai_sweep.merging.command._streams import prepare, say, show
from bai_sweep.records import UserError

DONE, FAILED, MISUSED = 0, 1, 2


def main(arguments: Sequence[str]) -> int:
    """Merges, or says why not in one message.

    Returns:
        The exit code: 0, 1 where the models or the disk are at fault, 2 where an argument is; 130 after a Ctrl-C, 143
        and 129 after a SIGTERM and a SIGHUP. A message that cannot be printed changes none of them.
    """
    prepare()
    with stopping():
        try:
            return _merge(arguments) if arguments and not {"-h", "--help"} & set(arguments) else _help(arguments)
        except Stopped as stopped:
            say("stopped: nothing was merged", errors=True)
            return stopped.code


def _help(arguments: Sequence[str]) -> int:
    from bai_sweep.merging.command._help import usage

    if not arguments:
        say(usage(), errors=True)
        return MISUSED
    try:
        show(usage())
    except UserError as error:
        say(str(error), errors=True)
        return FAILED
    return DONE


def _merge(arguments: Sequence[str]) -> int:
    from bai_sweep.merging.command._arguments import settings_of

    try:
        settings = settings_of(arguments)
    except UserError as error:
        say(str(error), errors=True)
        return MISUSED
    from bai_sweep.merging.command._run import run

    try:
        run(settings, shlex.join(["python", "-m", "bai_sweep.merge", *arguments]))
    except UserError as error:
        say(str(error), errors=True)
        return FAILED
    except Stopped as stopped:
        if not os.path.lexists(settings.folder):
            raise
        say(f"stopped: {settings.folder} is whole", errors=True)
        return stopped.code
    return DONE
