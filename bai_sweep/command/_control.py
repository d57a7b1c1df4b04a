"""`status`, `stop` and `add`: a study is looked at and steered through its storage, wherever its workers are."""

from __future__ import annotations

from collections.abc import Sequence

from bai_sweep.command._find import KEYS, find, parse_arguments
from bai_sweep.command._status import describe
from bai_sweep.records import UserError
from bai_sweep.search.control import add_points, request_stop, take_stop_back


def status(arguments: Sequence[str]) -> None:
    """Prints where a study is."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    for part in describe(find(parse_arguments(arguments, KEYS))):
        console.print(part, soft_wrap=isinstance(part, Text))


def stop(arguments: Sequence[str]) -> None:
    """Lets every worker finish its trial's step, save, and end; `undo=true` takes that back."""
    given = parse_arguments(arguments, (*KEYS, "undo"))
    found = find(given)
    if given.get("undo", "false") == "true":
        take_stop_back(found.study)
        print(f"study {found.study.study_name} may go on; workers that have ended do not come back by themselves")
        return
    request_stop(found.study, "by the command stop")
    print(
        f"study {found.study.study_name}: its workers finish their step, save and end; the command that began it goes "
        "on with resume=true"
    )


def add(arguments: Sequence[str]) -> None:
    """Makes a search owe more points; its workers find them by themselves."""
    given = parse_arguments(arguments, (*KEYS, "n_trials"))
    more = given.get("n_trials", "")
    if not more.isdecimal() or int(more) < 1:
        raise UserError(f"add n_trials=<how many more>; got n_trials={more or 'nothing'}")
    found = find(given)
    points = add_points(found.study, int(more))
    print(f"study {found.study.study_name}: {points} points now")
