"""From the command line to the command."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from bai_sweep.records import UserError


def run_command(name: str, arguments: Sequence[str], *, hydra_main: Callable[[], object]) -> None:
    """Runs `status`, `stop`, `add`, `report`, `compare`, `worker`, `plan`, `promote` or `rollback`.

    Args:
        name: the command's.
        arguments: the rest of the command line.
        hydra_main: runs Hydra's command line, which `worker` and `plan` go through.

    Raises:
        SystemExit: 2 for bad input.
    """
    try:
        if name == "plan":
            sys.argv[1:] = ["-m", *(_setting(argument) for argument in arguments), "hydra.sweeper.mode=plan"]
            hydra_main()
        elif name == "worker":
            from bai_sweep.command._worker import worker

            worker(arguments, hydra_main)
        elif name in ("promote", "rollback"):
            from bai_sweep.command import _promote

            {"promote": _promote.promote, "rollback": _promote.rollback}[name](arguments)
        else:
            _commands()[name](arguments)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def _commands() -> dict[str, Callable[[Sequence[str]], None]]:
    from bai_sweep.command import _control, _report

    return {
        "status": _control.status,
        "stop": _control.stop,
        "add": _control.add,
        "report": _report.report,
        "compare": _report.compare,
    }


def _setting(argument: str) -> str:
    """`plan` takes a study's overrides, and `calibrate=` as a word of its own."""
    return f"hydra.sweeper.{argument}" if argument.startswith("calibrate=") else argument
