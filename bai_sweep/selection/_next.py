"""Trials to run next, as a command line."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from bai_sweep.records import Choice, NextTrials
from bai_sweep.selection._candidates import Candidate, point_of

_PLAIN = re.compile(r"[\w.+/@-]+")
# What another study has of its own; the sweeper's settings among it, as these are a grid.
_DROPPED = re.compile(r"\+?(seeds?|study|resume|force|selection\.also|hydra[./]sweeper([./].*)?)$")
# What a file under sweeps/ may have set, undone: these trials are a grid, and each is run to its end.
_GRID = (
    "seeds=1",
    "hydra.sweeper.params=null",
    "hydra.sweeper.conditions=null",
    "hydra.sweeper.n_trials=null",
    "hydra.sweeper.enqueue=[]",
    "hydra.sweeper.warm_start=[]",
    "hydra/sweeper/pruner=none",
)


def next_seeds(points: Sequence[Candidate], wanted: Mapping[int, int], purpose: str) -> tuple[NextTrials, ...]:
    """Further seeds of some points.

    Args:
        points: in the order in which to name them.
        wanted: how many further seeds each gets, by number.
        purpose: one sentence.
    """
    first = max(seed for point in points for seed in point.seeds) + 1
    found = []
    for count in sorted({wanted[point.number] for point in points} - {0}):
        group = [point_of(point.result) for point in points if wanted[point.number] == count]
        found += [grid(part, range(first, first + count), purpose) for part in _grids(group)]
    return tuple(found)


def grid(points: Sequence[Mapping[str, Any]], seeds: Sequence[int], purpose: str) -> NextTrials:
    """The points, which are a full grid of their keys' values, each with every seed."""
    columns = {key: list(dict.fromkeys(written(point[key]) for point in points)) for key in points[0]}
    columns["seed"] = list(map(str, seeds))
    overrides = tuple(f"{key}={_swept(values)}" for key, values in columns.items())
    command = shlex.join(["python", "-m", "bai_sweep", "-m", *overrides])
    return NextTrials(overrides, len(points) * len(seeds), purpose, command)


def _swept(values: Sequence[str]) -> str:
    """A single value as a choice of one: else it would be a setting, and tell no point from another study's."""
    return ",".join(values) if len(values) > 1 else f"choice({values[0]})"


def written(value: object) -> str:
    """A value as Hydra's override grammar takes it."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(written, value)) + "]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return text if _PLAIN.fullmatch(text) else "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def with_commands(choice: Choice, study_command: str, name: str, folders: Sequence[str]) -> Choice:
    """The choice with whole commands: the study's own settings, another study's name, and then both counted together.

    Args:
        choice: from `choose`.
        study_command: the shell command that began the study.
        name: the study's.
        folders: the study's and those it counts itself (`selection.also`), whose trials are replicates.
    """

    own = folders[-1]
    study = re.sub(r"-next(-\d+)?$", "", name) + "-next"
    # as the sweeper names a second study of one name
    names = [study if k == 0 else f"{study}-{k + 1}" for k in range(len(choice.next_trials))]

    def complete(trials: NextTrials, after: Sequence[str]) -> NextTrials:
        run = _command(trials.overrides, study_command, study, folders)
        return replace(trials, command="\n".join([run, *([shlex.join(after)] if after else [])]))

    also = [*folders[:-1], *(str(PurePath(own).with_name(one)) for one in names)]
    decide = ["python", "-m", "bai_sweep.report", own, f"selection.also={written(also)}"]
    compare = ["python", "-m", "bai_sweep", "compare", f"studies={name},{study}"]
    asked = [complete(t, decide if t is choice.next_trials[-1] else ()) for t in choice.next_trials]
    proposal = choice.proposal and replace(choice.proposal, confirm=complete(choice.proposal.confirm, compare))
    return replace(choice, next_trials=tuple(asked), proposal=proposal)


def _command(overrides: Sequence[str], study_command: str, study: str, folders: Sequence[str]) -> str:
    begun = shlex.split(study_command)
    head, tail = begun[:3], begun[3:]  # python -m bai_sweep
    ours = {key_of(override) for override in overrides}
    kept = [
        t for t in tail if t not in ("-m", "--multirun") and key_of(t) not in ours and not _DROPPED.match(key_of(t))
    ]
    sweep = any(key_of(token).lstrip("+") == "sweep" for token in kept)
    own = [*overrides, f"study={study}", f"selection.also={written(folders)}"]
    return shlex.join([*head, "-m", *kept, *(_GRID if sweep else ()), *own])


def key_of(token: str) -> str:
    """`a.b` of `a.b=1`."""
    return token.partition("=")[0]


def _grids(points: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """All in one where they are every combination of their keys' values, else one by one."""
    keys = [tuple(point) for point in points]
    if len(set(keys)) == 1:
        columns = [dict.fromkeys(written(point[key]) for point in points) for key in keys[0]]
        if len(list(itertools.product(*columns))) == len(points):
            return [list(points)]
    return [[point] for point in points]
