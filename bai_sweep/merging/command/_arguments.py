"""From `key=value` arguments to settings, over the defaults of conf/merge.yaml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from bai_sweep.config import ConfigError
from bai_sweep.merging.command._settings import MergeSettings, check
from bai_sweep.sources import packaged_dir

# taken as they are typed: a folder may be called 2024 or no, and a model's name may hold dots
_TEXTS = ("base", "out", "tokenizer")
_BY_NAME = ("sft", "weights")


def settings_of(arguments: Sequence[str]) -> MergeSettings:
    """The checked settings.

    Raises:
        ConfigError: Names every fault.
    """
    pairs = [argument.partition("=") for argument in arguments]
    faults = [f"{key}: an argument is key=value; --help lists the keys" for key, sign, _ in pairs if not sign]
    given = {key: value for key, sign, value in pairs if sign}
    texts = {key: given.pop(key) for key in _TEXTS if key in given}
    named = {group: _named(given, group) for group in _BY_NAME}
    if fault := _fault_of_method(given.get("merge")):
        faults.append(fault)
        given = {key: value for key, value in given.items() if key != "merge" and not key.startswith("merge.")}
    raw = _over_defaults(given)
    raw |= {key: None if value == "null" else value for key, value in texts.items()}
    if isinstance(raw["sft"], dict):
        raw["sft"] |= named["sft"]
    if named["weights"]:
        raw["weights"] = {name: _value(text) for name, text in named["weights"].items()}
    return check({key: value for key, value in raw.items() if value != "???"}, faults)


def method_defaults(name: str) -> dict[str, Any]:
    """The settings that a method has, as in a trial's configuration."""
    content = OmegaConf.load(packaged_dir("conf") / "actor" / "merge" / f"{name}.yaml")
    return cast("dict[str, Any]", OmegaConf.to_container(content))


def _over_defaults(given: Mapping[str, str]) -> dict[str, Any]:
    defaults = cast("DictConfig", OmegaConf.load(packaged_dir("conf") / "merge.yaml"))
    dotted = [f"{key}={text}" for key, text in given.items() if key != "merge"]
    try:
        defaults["merge"] = method_defaults(given.get("merge", defaults["merge"]))
        raw = OmegaConf.to_container(OmegaConf.merge(defaults, OmegaConf.from_dotlist(dotted)), resolve=True)
    except Exception as error:  # noqa: BLE001 - OmegaConf has a dozen, and YAML's; each message names the place
        raise ConfigError.of([str(error)]) from None
    return cast("dict[str, Any]", raw)


def _fault_of_method(name: str | None) -> str | None:
    known = sorted(path.stem for path in (packaged_dir("conf") / "actor" / "merge").glob("*.yaml"))
    return None if name is None or name in known else f"merge: is one of {', '.join(known)}; got {name!r}"


def _named(given: dict[str, str], group: str) -> dict[str, str]:
    """Takes out the arguments of a group, by the rest of their key."""
    head = f"{group}."
    return {key.removeprefix(head): given.pop(key) for key in list(given) if key.startswith(head)}


def _value(text: str) -> Any:
    """A number, as YAML reads it."""
    return OmegaConf.from_dotlist([f"value={text}"])["value"]
