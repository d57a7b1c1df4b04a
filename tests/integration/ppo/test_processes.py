"""Two processes train what one trains, up to the order of sums: as replicas, and with sharded weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bai_sweep.ppo._telemetry import reproducible
from tests.integration.ppo import group

Run = Callable[..., list[dict[str, Any]]]

LORA = {"r": 4, "alpha": 8.0, "target_modules": "all-linear"}
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "uneven passes": {"steps": 3, "micro_batch_tokens": 26, "kl_loss_coef": 0.1, "entropy_coef": 0.01},
    "warm-up and decay": {"critic_warmup_steps": 1, "weight_decay": 0.1, "gae_lambda_critic": 1.0},
    "adapter, recomputed": {"lora": LORA, "gradient_checkpointing": True, "micro_batch_tokens": 33},
}
ROUNDING = "sampling/"
"""What the sampler and the trainer disagree about is rounding itself."""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs with a folder of their own: `run(2, sharded=True, settings={...})`."""
    count = iter(range(100))

    def start(processes: int, settings: dict[str, Any], *, sharded: bool = False, **rest: Any) -> list[dict[str, Any]]:
        shards = {"accelerate_config": "fsdp2"} if sharded else {}
        return group.run(processes, tmp_path / f"run{next(count)}", settings | shards, **rest)

    return start


def telemetry(result: dict[str, Any]) -> list[dict[str, float]]:
    assert "error" not in result, result["trace"]
    steps = [reproducible(step["metrics"]) for step in result["telemetry"]]
    return [{k: v for k, v in step.items() if not k.startswith(ROUNDING)} for step in steps]


def assert_same(together: dict[str, Any], alone: dict[str, Any]) -> None:
    for ours, theirs in zip(telemetry(together), telemetry(alone), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6)
    torch.testing.assert_close(together["weights"], alone["weights"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_and_shards_train_what_one_process_trains(run: Run, case: str) -> None:
    settings = CASES[case]
    (alone,) = run(1, settings)
    replicas, shards = run(2, settings), run(2, settings, sharded=True)
    for result in (*replicas, *shards):
        assert_same(result, alone)
    before = group.tiny_model(initializer_range=0.2).state_dict()
    assert alone["weights"].pop("unused").tolist() == [1.0] * 3
    moved = max(float((w - before[name]).abs().max()) for name, w in alone["weights"].items())
    assert moved > 1e-3, "hardly anything was learned"
    torch.testing.assert_close(replicas[0]["weights"], replicas[1]["weights"], rtol=0, atol=0)
    assert [result["held"] for result in replicas] == [alone["held"]] * 2
    assert sum(result["held"] for result in shards) == alone["held"]
    assert max(result["held"] for result in shards) < 0.6 * alone["held"]
    assert shards[0]["passes"] == shards[1]["passes"]
    if case == "uneven passes":
        assert replicas[0]["passes"] != replicas[1]["passes"]


@pytest.mark.parametrize("sharded", [False, True], ids=["replicas", "shards"])
def test_a_run_of_several_processes_goes_on_from_its_checkpoint(run: Run, tmp_path: Path, sharded: bool) -> None:
    settings = {"steps": 4, "checkpoint_steps": 1, "lr_schedule": "constant", "kl_target": 0.01}
    whole = run(2, {**settings, "output_dir": str(tmp_path / "whole")}, sharded=sharded)
    part = {**settings, "output_dir": str(tmp_path / "part")}
    run(2, {**part, "steps": 2}, sharded=sharded)
    resumed = run(2, part, sharded=sharded, resume=True)
    for ours, theirs in zip(resumed, whole, strict=True):
        assert telemetry(ours) == telemetry(theirs)
        torch.testing.assert_close(ours["weights"], theirs["weights"], rtol=0, atol=0)


def test_bad_input_in_one_process_is_bad_input_in_all(run: Run) -> None:
    said = run(2, {}, reward="refused_by_the_second")
    assert [result["error"] for result in said] == ["UserError"] * 2
    assert len({result["message"] for result in said}) == 1
    assert said[0]["message"].endswith("UserError: the judge is not there; start it")


def test_a_fault_in_one_process_ends_all_and_stays_a_fault(run: Run) -> None:
    said = run(2, {}, broken=True)
    assert [result["error"] for result in said] == ["PeerError", "ZeroDivisionError"]
    assert said[0]["message"] == "process 1 failed: ZeroDivisionError: division by zero"


def test_as_many_processes_as_the_settings_say(run: Run) -> None:
    said, _ = run(2, {"num_processes": 4})
    assert "how many share the run; got 4, and 2 were started" in said["message"]
    said, _ = run(2, {"minibatch_size": 1})
    assert "2 processes share every minibatch and batch evenly; got minibatch_size=1" in said["message"]
