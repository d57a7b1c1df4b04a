"""What a stage 1 that its dtype cannot hold is said to be."""

from __future__ import annotations

import numpy as np
import pytest

from bai_sweep.merging._engine import run
from bai_sweep.merging.methods import TwoSave
from bai_sweep.records import UserError
from tests.unit.merging.conftest import ArraySink, ArrayTensors, infos


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_a_stage_1_beyond_its_dtype_is_said_to_be_that(alpha: float) -> None:
    tensors = infos({"t": (3,)})
    values = {
        "base": ArrayTensors({"t": np.zeros(3, np.float32)}),
        "a": ArrayTensors({"t": np.array([1.0, 2.0, 1e5], np.float32)}),
    }

    with pytest.raises(UserError, match=r"t, element 2: stage 1 is 100000, .* F16 holds; .*merge.dtype=bfloat16"):
        run(tensors, values, TwoSave(alpha, {"a": 1.0}, "F16"), ArraySink(tensors), threads=1)


def test_a_member_that_is_not_finite_is_named_by_two_saves_too() -> None:
    tensors = infos({"t": (3,)})
    values = {
        "base": ArrayTensors({"t": np.zeros(3, np.float32)}),
        "a": ArrayTensors({"t": np.array([1.0, np.inf, 1e5], np.float32)}),
    }

    with pytest.raises(UserError, match=r"a holds inf"):
        run(tensors, values, TwoSave(0.5, {"a": 1.0}, "F16"), ArraySink(tensors), threads=1)
