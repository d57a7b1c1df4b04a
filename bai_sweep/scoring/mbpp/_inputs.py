"""What the tests' inputs were before they became JSON, which has no tuples, sets and complex numbers.

The tables are evalplus's (evalplus/data/mbpp.py, `mbpp_deserialize_inputs`): task numbers by what JSON lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

_TUPLES = (2, 116, 132, 143, 222, 261, 273, 394, 399, 421, 424, 429, 470, 560, 579, 596, 616, 630, 726, 740, 744, 809)
_LISTS_OF_TUPLES = (63, 64, 70, 94, 120, 237, 272, 299, 400, 409, 417, 438, 473, 614, 780)
_FIRST_LIST_OF_TUPLES = (75, 413, 444, 753)
_FIRST_TUPLE = (250, 307, 405, 446, 617, 720, 763, 808)
_SECOND_TUPLE = (106, 750)
_TUPLES_OF_TUPLES = (259, 401, 445)
_ALL_TUPLES = (580, 615, 791)

Arguments = Sequence[Any]


def arguments_of(task_id: str, given: Arguments) -> Arguments:
    """One test's arguments as the function gets them.

    Args:
        task_id: `Mbpp/2`.
        given: From the file.
    """
    restore = _RESTORE.get(int(task_id.rpartition("/")[2]))
    return given if restore is None else restore(given)


def _tuples(items: Sequence[Any]) -> list[Any]:
    return [tuple(item) for item in items]


def _deep(value: Any) -> Any:
    return tuple(map(_deep, value)) if isinstance(value, list) else value


def _sets(given: Arguments) -> Arguments:
    return [[set(item) if isinstance(item, list) and item else {} for item in given[0]]]


def _mixed(given: Arguments) -> Arguments:
    return [tuple(tuple(item) if isinstance(item, list) else item for item in given[0])]


def _tables(given: Arguments) -> Arguments:
    return [{key: tuple(value) for key, value in given[0].items()}, *given[1:]]


_RESTORE: dict[int, Callable[[Arguments], Arguments]] = {
    **dict.fromkeys(_TUPLES, _tuples),
    **dict.fromkeys(_LISTS_OF_TUPLES, lambda given: [_tuples(argument) for argument in given]),
    **dict.fromkeys(_FIRST_LIST_OF_TUPLES, lambda given: [_tuples(given[0]), *given[1:]]),
    **dict.fromkeys(_FIRST_TUPLE, lambda given: [tuple(given[0]), *given[1:]]),
    **dict.fromkeys(_SECOND_TUPLE, lambda given: [given[0], tuple(given[1])]),
    **dict.fromkeys(_TUPLES_OF_TUPLES, lambda given: [tuple(_tuples(argument)) for argument in given]),
    **dict.fromkeys(_ALL_TUPLES, _deep),
    115: _sets,
    124: lambda given: (float(given[0]), complex(given[1])),
    252: lambda given: [complex(given[0])],
    278: _mixed,
    722: _tables,
}
