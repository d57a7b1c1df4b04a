"""Which YAML files and which datasets a benchmark's task needs, found without importing lm-eval.

lm-eval's own index parses all of its 14,000 task files, which takes 9 to 10 s. A regular expression over their raw
text takes 0.3 s and is only needed for a task that does not stand under evaluators/; the few folders found are then
all that lm-eval is asked to index.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from bai_sweep.records import UserError
from bai_sweep.sources import packaged_dir

_NAME = re.compile(rb"^[\"']?(?:task|group)[\"']?:[ \t]*[\"']?([^\s\"'#]+)", re.MULTILINE)
_TAGS = re.compile(rb"^[\"']?tag[\"']?:([^\n]*(?:\n[ \t]*-[^\n]*)*)", re.MULTILINE)  # on the line, or as a list below
_WORD = re.compile(rb"[\w.-]*\w[\w.-]*")
_GROUP_KEYS = {"group", "group_alias", "task", "aggregate_metric_list", "metadata", "tag"}


@dataclass(frozen=True)
class Dataset:
    """What a task loads: `datasets.load_dataset(path, name, data_files=files)`."""

    path: str
    name: str | None
    files: tuple[str, ...]


@dataclass(frozen=True)
class TaskSource:
    """A task or group as lm-eval is asked for it.

    Args:
        spec: Its name, or its file.
        folders: Those that lm-eval has to index for it.
        datasets: Those that its tasks load.
        tasks: The names of its tasks, itself where it is one.
    """

    spec: str
    folders: tuple[Path, ...]
    datasets: tuple[Dataset, ...]
    tasks: tuple[str, ...]


class _Reader(yaml.SafeLoader):
    """Plain values; `!function` and other tags read as None."""


_Reader.add_multi_constructor("!", lambda loader, suffix, node: None)


def find_task(task: str) -> TaskSource:
    """Looks a task up by the path of its YAML, under evaluators/, then among lm-eval's own.

    Raises:
        UserError: there is no such task.
    """
    by_path = task.endswith((".yaml", ".yml"))
    path = Path(task).expanduser() if by_path else _locate(task)
    if path is None or not path.is_file():
        raise UserError(
            f"no lm-eval task or group is named {task!r}; looked in {packaged_dir('evaluators')} and in lm-eval's own "
            "tasks (its tags are not names); give one of these or the path of a task's YAML"
        )
    config = _read(path)
    # lm-eval 0.4.13 loads a task by path, but takes the members of a group by path for its name.
    lone = by_path and "group" not in config
    folders: dict[Path, None] = {} if lone else {path.parent: None}
    found = _Found(folders, {}, {})
    _collect(config, {}, found)
    # lm-eval lets later folders override earlier ones: ours come last.
    ours = [folder for folder in folders if not folder.is_relative_to(_lm_eval_tasks())]
    theirs = [folder for folder in folders if folder not in ours]
    spec = str(path) if lone else str(config.get("group", task))
    return TaskSource(spec, (*theirs, *ours), tuple(found.datasets), tuple(found.tasks))


class _Found(NamedTuple):
    """What has been met so far; the dicts serve as ordered sets."""

    folders: dict[Path, None]
    datasets: dict[Dataset, None]
    tasks: dict[str, None]


def _collect(config: Mapping[str, Any], overrides: Mapping[str, Any], found: _Found) -> None:
    """Adds what a task needs, or every member of a group."""
    members = config.get("task")
    if not isinstance(members, list):
        found.tasks[str(members)] = None
        if dataset := _dataset({**config, **overrides}):
            found.datasets[dataset] = None
        return
    inherited = {**{k: v for k, v in config.items() if k not in _GROUP_KEYS}, **overrides}
    for member in members:
        named: Mapping[str, Any] = member if isinstance(member, Mapping) else {"task": member}
        own = {k: v for k, v in named.items() if k not in _GROUP_KEYS}
        paths = _locate_all(named.get("group", named.get("task")))
        if not paths:  # defined inside the group
            _collect(named, inherited, found)
        for path in paths:
            found.folders[path.parent] = None
            _collect(_read(path), {**inherited, **own}, found)


def _dataset(config: Mapping[str, Any]) -> Dataset | None:
    """The dataset of one task; None where Python code makes it (`custom_dataset`, `class`)."""
    if "custom_dataset" in config or "class" in config or not isinstance(config.get("dataset_path"), str):
        return None
    files = (config.get("dataset_kwargs") or {}).get("data_files") or ()
    values = list(files.values()) if isinstance(files, Mapping) else [files]
    flat = [f for value in values for f in ([value] if isinstance(value, str) else value)]
    return Dataset(config["dataset_path"], config.get("dataset_name"), tuple(map(str, flat)))


def _locate(name: str) -> Path | None:
    return _index(packaged_dir("evaluators")).names.get(name) or _index(_lm_eval_tasks()).names.get(name)


def _locate_all(name: object) -> Sequence[Path]:
    """The file of a task or group, or of every task with a tag; none for what is not a known name."""
    if not isinstance(name, str):
        return ()
    path = _locate(name)
    return (path,) if path else _index(_lm_eval_tasks()).tags.get(name, ())


class _Index(NamedTuple):
    names: Mapping[str, Path]
    tags: Mapping[str, Sequence[Path]]


@cache
def _index(root: Path) -> _Index:
    """Tasks, groups and tags under a folder; as in lm-eval, the first file in sorted order has the name."""
    names: dict[str, Path] = {}
    tags: dict[str, list[Path]] = {}
    for path in sorted(root.glob("**/*.yaml")):
        text = path.read_bytes()
        for name in _NAME.findall(text):
            names.setdefault(name.decode(), path)
        for tag in (word for entry in _TAGS.findall(text) for word in _WORD.findall(entry)):
            tags.setdefault(tag.decode(), []).append(path)
    return _Index(names, tags)


@cache
def _lm_eval_tasks() -> Path:
    spec = importlib.util.find_spec("lm_eval")  # finds without importing
    if spec is None or spec.origin is None:
        raise UserError("lm-eval is not installed; `pip install 'lm-eval>=0.4.13'`")
    return Path(spec.origin).parent / "tasks"


def _read(path: Path) -> dict[str, Any]:
    """A task's YAML with its `include`s merged under it, as lm-eval merges them."""
    config: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader=_Reader)
    includes = config.pop("include", [])
    merged: dict[str, Any] = {}
    for included in [includes] if isinstance(includes, str) else includes:
        merged |= _read(path.parent / included)  # an absolute path stays itself
    return merged | config
