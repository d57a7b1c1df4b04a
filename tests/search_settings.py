"""The sweeper's settings as conf/ has them, for tests that change a few."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf

from bai_sweep.search._settings import SearchSettings, parse_settings
from bai_sweep.sources import packaged_dir

RANDOM = {"_target_": "optuna.samplers.RandomSampler", "seed": 3}


def raw_settings(**changes: Any) -> dict[str, Any]:
    """What Hydra hands to the sweeper, with a random sampler and no pruner."""
    raw = OmegaConf.to_container(OmegaConf.load(packaged_dir("conf") / "hydra/sweeper/bai.yaml"), resolve=False)
    assert isinstance(raw, dict)
    own = {key: value for key, value in raw.items() if key not in ("defaults", "_target_", "_recursive_")}
    collapse = {**own["collapse"], **changes.pop("collapse", {})}
    return {**own, "sampler": RANDOM, "pruner": None, "collapse": collapse, **changes}  # type: ignore[dict-item]


def search_settings(**changes: Any) -> SearchSettings:
    """The same, checked."""
    return parse_settings(raw_settings(**changes))
