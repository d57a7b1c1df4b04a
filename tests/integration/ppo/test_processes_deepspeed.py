"""Two processes under DeepSpeed's ZeRO-2 train what one trains without it, up to the order of sums."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bai_sweep.ppo.networks import Zero2
from bai_sweep.records import UserError
from tests.integration.ppo import group
from tests.integration.ppo.test_processes import CASES, assert_same, telemetry

pytestmark = pytest.mark.skipif(find_spec("deepspeed") is None, reason="deepspeed is not installed")

ZERO = {"accelerate_config": "zero2"}


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_what_one_trains(tmp_path: Path, case: str) -> None:
    settings = CASES[case]
    (alone,) = group.run(1, tmp_path / "alone", settings)
    together = group.run(2, tmp_path / "together", settings | ZERO)
    for result in (alone, *together):
        assert "error" not in result, result["trace"]
        unused = result["weights"].pop("unused")
        if result is alone or not settings.get("weight_decay"):
            assert unused.tolist() == [1.0] * 3
        else:  # the one difference: without a gradient it decays
            assert float(unused.max()) < 1.0
    for result in together:
        assert_same(result, alone)
        assert 0.5 <= result["remembered"] < 0.51
    assert together[0]["passes"] == together[1]["passes"]
    torch.testing.assert_close(together[0]["weights"], together[1]["weights"], rtol=0, atol=0)


SETTINGS: dict[str, Any] = {"steps": 4, "checkpoint_steps": 1, "lr_schedule": "constant", "kl_target": 0.01}


@pytest.mark.parametrize(("first", "then"), [(ZERO, ZERO), ({}, ZERO), (ZERO, {})], ids=["on", "into", "out of"])
def test_a_run_goes_on_with_deepspeed_or_into_or_out_of_it(
    tmp_path: Path, first: dict[str, Any], then: dict[str, Any]
) -> None:
    whole = group.run(2, tmp_path / "whole", SETTINGS | then)
    part = SETTINGS | {"output_dir": str(tmp_path / "part")}
    group.run(2, tmp_path / "begun", {**part, **first, "steps": 2})
    resumed = group.run(2, tmp_path / "resumed", part | then, resume=True)
    for ours, theirs in zip(resumed, whole, strict=True):
        assert "error" not in ours, ours["trace"]
        exact = first is then
        torch.testing.assert_close(ours["weights"], theirs["weights"], rtol=0, atol=0.0 if exact else 1e-6)
        assert not exact or telemetry(ours) == telemetry(theirs)


def test_weights_of_less_precision_are_refused() -> None:
    half = [nn.Parameter(torch.ones(2, dtype=torch.bfloat16)) for _ in range(2)]
    optimizer = torch.optim.AdamW([{"params": [weight]} for weight in half])
    with pytest.raises(UserError, match=r"are float32 under DeepSpeed; got bfloat16; load the model in float32"):
        Zero2().take(optimizer, torch.device("cpu"))
