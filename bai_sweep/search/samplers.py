"""Samplers that a configuration names and Optuna itself does not have."""

from __future__ import annotations

from typing import Any

from optuna.samplers import BaseSampler

from bai_sweep.records import UserError


def auto_sampler(seed: int | None = None, **options: Any) -> BaseSampler:
    """OptunaHub's AutoSampler, which optunahub fetches from GitHub; `hydra/sweeper/sampler=auto` consents to that.

    Raises:
        UserError: optunahub is not installed.
    """
    try:
        import optunahub  # type: ignore[import-not-found]
    except ImportError as error:
        raise UserError("AutoSampler comes from OptunaHub; install it: pip install optunahub cmaes scipy") from error
    sampler: BaseSampler = optunahub.load_module("samplers/auto_sampler").AutoSampler(seed=seed, **options)
    return sampler
