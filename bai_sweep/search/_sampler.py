"""The sampler, made anew for each trial from the study's configuration.

Its seed comes from the configured one and the trial's number. One sampler for the whole study would repeat itself
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
from optuna.samplers import BaseSampler, QMCSampler

from bai_sweep.records import UserError


def make_sampler(config: Mapping[str, Any], number: int) -> BaseSampler:
    """Instantiates `_target_` for trial `number`.

    Raises:
        UserError: it cannot be made, or is not a sampler.
    """
    sampler = _instantiate(config)
    if config.get("seed") is None or isinstance(sampler, QMCSampler):
        return sampler  # a quasi-random sequence is one sequence: all trials share its scrambling
    return _instantiate({**config, "seed": random.Random(f"{config['seed']}/{number}").getrandbits(31)})


def _instantiate(config: Mapping[str, Any]) -> BaseSampler:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # choosing it in a config is consent
            sampler = instantiate(dict(config))
    except Exception as error:
        cause = error.__cause__ or error
        raise UserError(f"hydra.sweeper.sampler {config.get('_target_')!r} cannot be made: {cause}") from error
    if not isinstance(sampler, BaseSampler):
        raise UserError(f"hydra.sweeper.sampler is an Optuna sampler; {config.get('_target_')!r} is not")
    return sampler
