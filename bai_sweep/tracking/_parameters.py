"""A configuration as MLflow parameters (dotted keys under their config names) and as a YAML artifact, masked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from bai_sweep.tracking._masking import masked


def flatten(config: BaseModel | Mapping[str, Any]) -> dict[str, str]:
    """`{"alpha": "0.5", "rl.steps": "50", ...}`: the words of the YAML files (null, true), secrets masked."""
    return {key: _as_text(_masked_tree(key, value)) for key, value in _leaves("", _plain(config))}


def config_yaml(config: BaseModel | Mapping[str, Any]) -> str:
    """The resolved configuration as YAML, secrets masked."""
    import yaml

    return yaml.safe_dump(_masked_tree("", _plain(config)), sort_keys=False, allow_unicode=True)


def _plain(config: BaseModel | Mapping[str, Any]) -> Mapping[str, Any]:
    return config.model_dump(mode="json") if isinstance(config, BaseModel) else config


def _leaves(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and (value or not prefix):
        for key, inner in value.items():
            yield from _leaves(f"{prefix}.{key}" if prefix else str(key), inner)
    else:
        yield prefix, value


def _masked_tree(key: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _masked_tree(str(k), v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_masked_tree(key, item) for item in value]
    return masked(key, value)


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool | list | tuple | Mapping):
        return json.dumps(value, default=str)
    return str(value)
