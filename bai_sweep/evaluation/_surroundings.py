"""What an evaluation borrows and gives back as it was: the model's mode, the global generators, the terminal."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Dropout off; every submodule is in its former mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def own_randomness() -> Iterator[None]:
    """Restores the global generators of Python, NumPy and torch, which lm-eval and its tasks reseed and draw from."""
    import numpy as np
    import torch

    state, np_state, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    cuda_states = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        yield
    finally:
        random.setstate(state)
        np.random.set_state(np_state)  # noqa: NPY002
        torch.set_rng_state(torch_state)
        if cuda_states:
            torch.cuda.set_rng_state_all(cuda_states)


def seed_everything(seed: int) -> None:
    """Seeds the global generators that tasks may draw from."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars of lm-eval and datasets: the terminal belongs to our own display. Warnings reach the log."""
    import datasets
    from lm_eval.api import task

    shown, had_bars = task.tqdm, not datasets.are_progress_bars_disabled()
    task.tqdm = _bare
    task.eval_logger.addFilter(_is_not_advice)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        task.tqdm = shown
        task.eval_logger.removeFilter(_is_not_advice)
        if had_bars:
            datasets.enable_progress_bars()


def _bare(items: Iterable[Any], **_: Any) -> Iterable[Any]:
    return items


def _is_not_advice(record: logging.LogRecord) -> bool:
    """Keeps out what lm-eval warns of for every `custom_dataset`: advice on its command line, which nobody is at."""
    return "Custom kwargs can be passed" not in record.getMessage()
