"""The sampler and the pruner, made from the study's configuration; the sampler anew for each point.

Its seed comes from the configured one and the point's index. One sampler for the whole study would repeat itself
on resume (a fresh generator gives the random start-up trials once more), and one for each worker would make a
trial depend on which worker took it. Optuna's samplers keep what they learn in the storage, so nothing is lost.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Mapping
from typing import Any

from hydra.utils import instantiate
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler, QMCSampler

from bai_sweep.records import UserError


def make_sampler(config: Mapping[str, Any], point: int) -> BaseSampler:
    """Instantiates `_target_` for the point of an index.

    Raises:
        UserError: it cannot be made, or is not a sampler.
    """
    sampler = _instantiate("sampler", config)
    if config.get("seed") is not None and not isinstance(sampler, QMCSampler):
        # A quasi-random sequence is one sequence: all its points share the scrambling.
        seed = random.Random(f"{config['seed']}/{point}").getrandbits(31)
        sampler = _instantiate("sampler", {**config, "seed": seed})
    if not isinstance(sampler, BaseSampler):
        raise UserError(f"hydra.sweeper.sampler is an Optuna sampler; {config.get('_target_')!r} is not")
    return sampler


def make_pruner(config: Mapping[str, Any] | None) -> BasePruner:
    """Instantiates `_target_`; without a configuration, one that prunes nothing.

    Raises:
        UserError: it cannot be made, or is not a pruner.
    """
    if config is None:
        return NopPruner()
    pruner = _instantiate("pruner", config)
    if not isinstance(pruner, BasePruner):
        raise UserError(f"hydra.sweeper.pruner is an Optuna pruner; {config.get('_target_')!r} is not")
    return pruner


def _instantiate(kind: str, config: Mapping[str, Any]) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # choosing it in a config is consent
            return instantiate(dict(config))
    except Exception as error:
        cause = error.__cause__ or error
        raise UserError(f"hydra.sweeper.{kind} {config.get('_target_')!r} cannot be made: {cause}") from error
