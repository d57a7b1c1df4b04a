"""Trial configurations, composed once for each choice of config groups and then only filled in.

Hydra composes a trial's configuration from its files anew, a tenth of a second each time. Between the points of a
search space mostly plain values differ; these are set in a copy of what Hydra composed for the first of them. That it
comes to the same is checked once for each choice of groups, against Hydra itself; where it does not (a defaults list
may depend on a value), Hydra composes every one.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf


class Composer:
    """Composes the jobs of one multirun.

    Args:
        config: the multirun's.
        loader: Hydra's.
    """

    def __init__(self, config: DictConfig, loader: ConfigLoader) -> None:
        self._config, self._loader = config, loader
        self._parser = OverridesParser.create(config_loader=loader)
        # By what only Hydra can apply; None: nothing can be filled in.
        self._composed: dict[tuple[str, ...], bytes | None] = {}
        self._checked: set[tuple[str, ...]] = set()
        self._groups: dict[str, bool] = {}

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """What `load_sweep_config` gives for these overrides."""
        parsed = self._parser.parse_overrides(list(overrides))
        plain = [override for override in parsed if self._is_plain(override)]
        # The keys of plain values too: what one point sets and the next does not would stay.
        key = tuple(f"{o.key_or_group}{_members(o.value())}" if o in plain else str(o.input_line) for o in parsed)
        if key not in self._composed:
            whole = self._by_hydra(overrides)
            self._composed[key] = _pickled(whole)
            return whole
        kept = self._composed[key]
        if kept is None:
            return self._by_hydra(overrides)
        filled = self._filled(kept, parsed, plain)
        if key not in self._checked:
            whole = self._by_hydra(overrides)
            self._checked.add(key)
            if not _alike(filled, whole):
                self._composed[key] = None
            return whole
        return filled

    def _by_hydra(self, overrides: Sequence[str]) -> DictConfig:
        return self._loader.load_sweep_config(self._config, list(overrides))

    def _is_plain(self, override: Override) -> bool:
        """Whether it sets a value that is there: no config group, nothing added or deleted."""
        if override.package is not None or override.is_add() or override.is_force_add() or override.is_delete():
            return False
        return not override.is_hydra_override() and not self._is_group(str(override.key_or_group))

    def _is_group(self, name: str) -> bool:
        if name not in self._groups:
            self._groups[name] = bool(self._loader.get_group_options(name))
        return self._groups[name]

    def _filled(self, kept: bytes, parsed: Sequence[Override], plain: Sequence[Override]) -> DictConfig:
        config: DictConfig = pickle.loads(kept)  # noqa: S301 - this process wrote it; much faster than a deep copy
        ConfigLoaderImpl._apply_overrides_to_config(list(plain), config)
        config.hydra.overrides.task = [o.input_line for o in parsed]
        settings = config.hydra.job.config.override_dirname
        config.hydra.job.override_dirname = get_overrides_dirname(
            list(parsed), settings.exclude_keys, settings.item_sep, settings.kv_sep
        )
        OmegaConf.copy_cache(from_config=self._config, to_config=config)
        return config


def _members(value: object) -> str:
    """The keys within a mapping: mappings are merged, so those that one point sets stay too."""
    if not isinstance(value, Mapping):
        return ""
    return "{" + ",".join(sorted(f"{key}{_members(item)}" for key, item in value.items())) + "}"


def _pickled(config: DictConfig) -> bytes | None:
    try:
        return pickle.dumps(config)
    except pickle.PicklingError:  # of a launcher's schema, which Hydra has imported twice
        return None


def _alike(one: DictConfig, other: DictConfig) -> bool:
    return OmegaConf.to_container(one, resolve=False) == OmegaConf.to_container(other, resolve=False)
