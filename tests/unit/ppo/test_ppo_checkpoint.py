"""Checkpoints on the disk, and what goes into them; tests/integration/ppo/test_resume.py has whole runs."""

from __future__ import annotations

import copy
import errno
import json
import logging
import os
import random
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from bai_sweep.ppo.checkpoints import (
    Checkpoint,
    Checkpoints,
    generator_state,
    global_random_state,
    load_generator_state,
    load_global_random_state,
    load_optimizer_state,
    load_trained_weights,
    optimizer_state,
    trained_weights,
)
from bai_sweep.records import UserError

STATE = {"kl": {"coef": 0.1 + 0.2}, "telemetry": [{"step": 1, "metrics": {"objective/kl": -0.0, "x": 1e-300}}]}


def checkpoint(step: int) -> Checkpoint:
    """With every kind of tensor; its numbers depend on the step."""
    actor = {"w": torch.arange(6.0).reshape(2, 3).t() + step, "half": torch.full((3,), 1 / 3, dtype=torch.bfloat16)}
    return Checkpoint(step, STATE, {"actor": actor, "optimizer": {"w/step": torch.tensor(float(step))}})


def saved(folder: Path, *steps: int, keep: int = 5) -> Checkpoints:
    checkpoints = Checkpoints(folder, keep)
    for step in steps:
        checkpoints.save(checkpoint(step))
    return checkpoints


def test_what_is_read_is_what_was_saved(tmp_path: Path) -> None:
    back = saved(tmp_path / "run" / "checkpoints", 7).read(7)

    assert back.step == 7
    assert back.state == STATE
    for name, tensors in checkpoint(7).tensors.items():
        assert back.tensors[name].keys() == tensors.keys()
        for key, tensor in tensors.items():
            assert back.tensors[name][key].dtype == tensor.dtype
            assert torch.equal(back.tensors[name][key], tensor)


def test_nothing_of_it_is_pickled(tmp_path: Path) -> None:
    folder = saved(tmp_path, 7).folder / "step-00000007"

    assert sorted(file.name for file in folder.iterdir()) == [
        "actor.safetensors",
        "optimizer.safetensors",
        "state.json",
    ]
    assert set(load_file(folder / "actor.safetensors")) == {"w", "half"}
    json.loads((folder / "state.json").read_text())


def test_the_newest_are_kept(tmp_path: Path) -> None:
    assert saved(tmp_path, 2, 4, 10, 100, keep=2).steps() == [10, 100]
    assert saved(tmp_path, keep=2).newest() == 100
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000010", "step-00000100"]


def test_where_there_is_none_there_is_none(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "nothing", 1).newest() is None


def cut_off(folder: Path) -> None:
    os.truncate(folder / "actor.safetensors", (folder / "actor.safetensors").stat().st_size - 4)


def flip_a_bit(folder: Path) -> None:
    data = bytearray((folder / "actor.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "actor.safetensors").write_bytes(data)


def lose_a_file(folder: Path) -> None:
    (folder / "optimizer.safetensors").unlink()


def cut_off_the_state(folder: Path) -> None:
    os.truncate(folder / "state.json", 30)


def write_another_format(folder: Path) -> None:
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps(state | {"format": 99}))


def write_another_kind(folder: Path) -> None:
    (folder / "state.json").write_text("[]")


FAULTS = [cut_off, flip_a_bit, lose_a_file, cut_off_the_state, write_another_format, write_another_kind]


@pytest.mark.parametrize("spoil", FAULTS)
def test_a_spoiled_one_falls_back_to_the_one_before(
    tmp_path: Path, spoil: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = saved(tmp_path, 1, 2)
    spoil(tmp_path / "step-00000002")

    with caplog.at_level(logging.WARNING):
        assert checkpoints.newest() == 1

    assert "step-00000002 cannot be used" in caplog.text
    assert "the one before is taken" in caplog.text
    caplog.clear()
    spoil(tmp_path / "step-00000001")
    assert checkpoints.newest() is None
    assert "none is left; the run starts anew" in caplog.messages[-1]


def test_the_run_that_fell_back_replaces_what_was_spoiled(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 2, 4, keep=2)
    cut_off(tmp_path / "step-00000004")

    checkpoints.save(checkpoint(4))
    assert checkpoints.newest() == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000004"]

    cut_off(tmp_path / "step-00000004")
    again = Checkpoints(tmp_path, 1)
    assert again.newest() == 2
    again.save(checkpoint(3))
    assert checkpoints.steps() == [3], "a newer one that nobody could use must not push out a good one"


def test_newer_ones_that_nobody_tried_stay(tmp_path: Path) -> None:
    saved(tmp_path, 4, 5)
    saved(tmp_path, 1, 2, keep=1)

    assert Checkpoints(tmp_path, 1).steps() == [2, 4, 5]


def test_leavings_of_a_kill_are_not_read_and_go_with_the_next(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1)
    shutil.copytree(tmp_path / "step-00000001", tmp_path / ".partial-2-77")
    shutil.copytree(tmp_path / "step-00000001", tmp_path / ".old-0-77")

    assert checkpoints.steps() == [1]
    checkpoints.save(checkpoint(3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000001", "step-00000003"]


def test_a_full_disk_costs_the_checkpoint_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoints = saved(tmp_path, 1)
    large = Checkpoint(2, STATE, {"actor": {"w": torch.zeros(50_000)}})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # the kernel refuses what is larger
    try:
        checkpoints.save(large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert "no checkpoint after step 2" in caplog.text
    assert os.strerror(errno.EFBIG) in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert checkpoints.newest() == 1
    checkpoints.save(large)
    assert checkpoints.newest() == 2


class Pair(nn.Module):
    """Two layers with a tied weight, and a frozen one."""

    def __init__(self, seed: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.second = nn.Linear(3, 3, dtype=dtype), nn.Linear(3, 3, dtype=dtype)
        self.second.weight = self.first.weight
        self.frozen = nn.Linear(2, 2, dtype=dtype).requires_grad_(False)


def stepped(module: Pair, *, second: bool = True) -> torch.optim.AdamW:
    """An optimizer after two steps; without `second`, that layer's bias has had no gradient yet."""
    groups = [{"params": module.first.parameters(), "lr": 0.1}, {"params": [module.second.bias], "lr": 0.01}]
    optimizer = torch.optim.AdamW(groups, fused=True)
    for _ in range(2):
        advance(module, optimizer, second=second)
    return optimizer


def advance(module: Pair, optimizer: torch.optim.AdamW, *, second: bool = True) -> None:
    x = torch.ones(2, 3, dtype=module.first.weight.dtype)
    out = module.first(x) ** 2
    (module.second(out) if second else out).sum().backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("second", [True, False])
def test_an_optimizer_goes_on_as_if_nothing_had_happened(dtype: torch.dtype, second: bool) -> None:
    module = Pair(0, dtype)
    optimizer = stepped(module, second=second)
    weights = {name: tensor.clone() for name, tensor in trained_weights(module).items()}
    state = {name: tensor.clone() for name, tensor in optimizer_state(module, optimizer).items()}
    expected = copy.deepcopy(optimizer.state_dict()["state"])
    assert set(weights) == {"first.weight", "first.bias", "second.bias"}
    assert ("second.bias/exp_avg" in state) is second

    other = Pair(9, dtype)
    other_optimizer = stepped(other)
    load_trained_weights(other, weights)
    load_optimizer_state(other, other_optimizer, state)

    assert other_optimizer.state_dict()["state"].keys() == expected.keys()
    for index, values in expected.items():
        for key, value in values.items():
            back = other_optimizer.state_dict()["state"][index][key]
            assert back.dtype == value.dtype
            assert torch.equal(back, value)
    for pair, its in ((module, optimizer), (other, other_optimizer)):
        advance(pair, its)
    assert all(
        torch.equal(a, b)
        for a, b in zip(trained_weights(module).values(), trained_weights(other).values(), strict=True)
    )


def test_what_was_loaded_holds_no_memory_of_the_file(tmp_path: Path) -> None:
    """The file may be removed, and changing the weights changes nobody else's."""
    module, weights = Pair(0), {name: tensor.clone() for name, tensor in trained_weights(Pair(1)).items()}
    optimizer = stepped(module)
    state = {name: tensor.clone() for name, tensor in optimizer_state(module, optimizer).items()}
    kept = copy.deepcopy((weights, state))

    load_trained_weights(module, weights)
    load_optimizer_state(module, optimizer, state)
    advance(module, optimizer)

    for before, after in zip(kept, (weights, state), strict=True):
        assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            {"first.weight": torch.zeros(3, 4)},
            r"1 parameters differ: first.weight: \(3, 4\) float32, now \(3, 3\) float32",
        ),
        ({"first.bias": torch.zeros(3, dtype=torch.bfloat16)}, r"first.bias: \(3,\) bfloat16, now \(3,\) float32"),
        ({"lora_A": torch.zeros(1)}, r"lora_A: \(1,\) float32, now absent"),
    ],
)
def test_weights_of_another_model_are_refused(other: dict[str, torch.Tensor], message: str) -> None:
    module = Pair(0)
    before = {name: tensor.clone() for name, tensor in trained_weights(module).items()}

    with pytest.raises(UserError, match=message):
        load_trained_weights(module, trained_weights(Pair(1)) | other)

    assert all(torch.equal(before[name], tensor) for name, tensor in trained_weights(module).items())


def draw() -> list[Any]:
    """From every shared generator, an odd number of normal ones: two are made at a time."""
    return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.normal(), torch.randn(3).tolist()]  # noqa: NPY002


def test_shared_generators_go_on_after_json() -> None:
    draw()
    state = json.loads(json.dumps(global_random_state()))
    expected = [draw(), draw()]

    draw()
    load_global_random_state(state)

    assert [draw(), draw()] == expected


def test_a_generator_of_our_own_goes_on_after_json() -> None:
    generator = torch.Generator().manual_seed(3)
    torch.rand(7, generator=generator)
    state = json.loads(json.dumps(generator_state(generator)))
    expected = torch.rand(5, generator=generator)

    other = torch.Generator()
    load_generator_state(other, state)

    assert torch.equal(torch.rand(5, generator=other), expected)
