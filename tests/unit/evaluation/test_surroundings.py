"""What an evaluation borrows is given back, also when it fails."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn

from bai_sweep.evaluation._surroundings import eval_mode, own_randomness, seed_everything


@contextmanager
def failing() -> Iterator[None]:
    with pytest.raises(RuntimeError, match="inside"):
        yield


def test_the_generators_go_on_where_they_were() -> None:
    seed_everything(3)
    expected = [random.random(), float(np.random.rand()), float(torch.rand(()))]  # noqa: NPY002
    seed_everything(3)
    with failing(), own_randomness():
        seed_everything(99)
        random.random()
        raise RuntimeError("inside")
    assert [random.random(), float(np.random.rand()), float(torch.rand(()))] == expected  # noqa: NPY002


def test_each_module_is_in_its_former_mode() -> None:
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout()))
    model.train()
    model[1].eval()
    with failing(), eval_mode(model):
        assert not any(module.training for module in model.modules())
        raise RuntimeError("inside")
    assert [module.training for module in model.modules()] == [True, True, False, False]
