"""From `key=value` arguments to settings, over the defaults of conf/merge.yaml."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from bai_sweep.config import ConfigError
from bai_sweep.merging.command._settings import MergeSettings, check
from bai_sweep.sources import packaged_dir

# not OmegaConf, whose import takes as long as planning a merge
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# taken as they are typed: a folder may be called 2024 or no, and a model's name may hold dots
_TEXTS = ("base", "out", "tokenizer")
_BY_NAME = ("sft", "weights")
_APART = (("merge",), ("sft",))


def settings_of(arguments: Sequence[str]) -> MergeSettings:
    """The checked settings.

    Raises:
        ConfigError: Names every fault.
    """
    pairs = [argument.partition("=") for argument in arguments]
    faults = [f"{key}: an argument is key=value; --help lists the keys" for key, sign, _ in pairs if not sign]
    given, twice = _each_once([(key, value) for key, sign, value in pairs if sign])
    faults += twice
    texts = {key: given.pop(key) for key in _TEXTS if key in given}
    named = {group: _named(given, group) for group in _BY_NAME}
    if fault := _fault_of_method(given):
        faults.append(fault)
        given = {key: value for key, value in given.items() if key != "merge" and not key.startswith("merge.")}
    raw = _over_defaults(given)
    raw |= {key: None if value == "null" else value for key, value in texts.items()}
    if isinstance(raw["sft"], dict):
        raw["sft"] |= named["sft"]
    if named["weights"]:
        raw["weights"] = (raw["weights"] if isinstance(raw["weights"], dict) else {}) | {
            name: _value(f"weights.{name}", text) for name, text in named["weights"].items()
        }
    return check({key: value for key, value in raw.items() if value != "???"}, faults)


def method_defaults(name: str) -> dict[str, Any]:
    """The settings that a method has, as in a trial's configuration."""
    return _loaded(packaged_dir("conf") / "actor" / "merge" / f"{name}.yaml")


def _over_defaults(given: Mapping[str, str]) -> dict[str, Any]:
    raw = _loaded(packaged_dir("conf") / "merge.yaml")
    raw["merge"] = method_defaults(given.get("merge", raw["merge"]))
    for key, text in given.items():
        if key != "merge":
            _put(raw, key, _value(key, text))
    return {key: _resolved(key, value, raw) for key, value in raw.items()}


def _loaded(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), _LOADER)
    return content


def _put(into: dict[str, Any], key: str, value: Any) -> None:
    """Sets `a.b.c` in nested mappings; a mapping adds to one that is there."""
    *above, last = key.split(".")
    for part in above:
        if not isinstance(into.get(part), dict):
            into[part] = {}
        into = into[part]
    if isinstance(value, dict) and isinstance(into.get(last), dict):
        into[last] |= value
    else:
        into[last] = value


def _value(key: str, text: str) -> Any:
    """A number, a truth, null or a text, as YAML reads it."""
    try:
        return yaml.load(text, _LOADER)
    except yaml.YAMLError as error:
        raise ConfigError.of([f"{key}: is read as YAML, which {text!r} is not: {error}"]) from None


def _resolved(key: str, value: Any, raw: Mapping[str, Any]) -> Any:
    """The value with another key's in place of `${key}`, which is all that conf/ has of interpolation here."""
    if isinstance(value, dict):
        return {name: _resolved(f"{key}.{name}", item, raw) for name, item in value.items()}
    found = re.fullmatch(r"\$\{(\w+)\}", value) if isinstance(value, str) else None
    if found is None:
        return value
    if found[1] not in raw or found[1] == key:
        raise ConfigError.of([f"{key}: there is no key {found[1]}; got {value!r}"])
    return raw[found[1]]


def _fault_of_method(given: Mapping[str, str]) -> str | None:
    known = sorted(path.stem for path in (packaged_dir("conf") / "actor" / "merge").glob("*.yaml"))
    name, below = given.get("merge"), given.get("merge.method")
    if below is not None:
        written = f"merge={below}" if below in known else f"merge=<{'|'.join(known)}>"
        return f"merge.method: a method is named as merge=<method>; write {written} for merge.method={below}"
    return None if name is None or name in known else f"merge: is one of {', '.join(known)}; got {name!r}"


def _each_once(pairs: Sequence[tuple[str, str]]) -> tuple[dict[str, str], list[str]]:
    """The arguments by their keys, and a fault for each that says again what one before it says."""
    given: dict[str, str] = {}
    faults = []
    for key, text in pairs:
        clash = next((other for other in given if _clash((key, text), (other, given[other]))), None)
        if clash is None:
            given[key] = text
        else:
            faults.append(f"{key}: is given once; got {clash}={given[clash]} and {key}={text}")
    return given, faults


def _clash(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Whether two arguments set the same, or one a whole in which the other sets a part."""
    if one[0] == other[0]:
        return True
    # a method is no whole of its settings; models without a name are a fault that is told elsewhere
    return any(
        (a == b[: len(a)] or b == a[: len(b)]) and a not in _APART and b not in _APART
        for a in _leaves(*one)
        for b in _leaves(*other)
    )


def _leaves(key: str, text: str) -> list[tuple[str, ...]]:
    """The paths of what an argument sets: several where it is a mapping."""
    group, dot, rest = key.partition(".")
    path = (group, *([rest] if group in _BY_NAME else rest.split("."))) if dot else (group,)
    try:
        value = None if key in _TEXTS else yaml.load(text, _LOADER)
    except yaml.YAMLError:  # a fault that is told elsewhere
        value = None
    return list(_paths(path, value))


def _paths(path: tuple[str, ...], value: Any) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _paths((*path, str(name)), item)
    else:
        yield path


def _named(given: dict[str, str], group: str) -> dict[str, str]:
    """Takes out the arguments of a group, by the rest of their key."""
    head = f"{group}."
    return {key.removeprefix(head): given.pop(key) for key in list(given) if key.startswith(head)}
