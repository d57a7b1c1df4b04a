"""What is taken from accelerate's configuration, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file

from bai_sweep.ppo.processes import SHIPPED, check_devices, check_launch, environment_of, sharding_of
from bai_sweep.records import UserError

Make = Callable[..., Any]


def test_accelerate_reads_every_shipped_configuration_and_so_do_we() -> None:
    paths = sorted(SHIPPED.glob("*.yaml"))
    assert [path.stem for path in paths] == ["fsdp2"]
    for path in paths:
        theirs = load_config_from_file(str(path))
        ours = environment_of(path.stem)
        assert ours["ACCELERATE_USE_FSDP"] == "true"
        assert ours["FSDP_VERSION"] == str(theirs.fsdp_config["fsdp_version"]) == "2"
        assert sharding_of(ours) is theirs.fsdp_config["fsdp_reshard_after_forward"]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def make(**content: Any) -> str:
        (tmp_path / "a.yaml").write_text(yaml.safe_dump(content))
        return str(tmp_path / "a.yaml")

    return make


def test_nothing_and_plain_data_parallel_shard_nothing(write: Callable[..., str]) -> None:
    assert environment_of(None) == {}
    assert environment_of(write(distributed_type="MULTI_GPU", num_processes=2)) == {}
    assert sharding_of({}) is None


def test_options_reach_the_environment(write: Callable[..., str]) -> None:
    name = write(distributed_type="FSDP", fsdp_config={"fsdp_version": 2, "fsdp_reshard_after_forward": False})
    assert sharding_of(environment_of(name)) is False


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"distributed_type": "DEEPSPEED"}, r"has DEEPSPEED; use fsdp2"),
        ({"distributed_type": "FSDP", "fsdp_config": {"fsdp_version": 1}}, r"got fsdp_version 1; set it to 2"),
        ({"distributed_type": "FSDP"}, r"got fsdp_version 1; set it to 2"),
        (
            {"distributed_type": "FSDP", "fsdp_config": {"fsdp_version": 2, "fsdp_offload_params": True}},
            r"fsdp_offload_params; set it to false and use more GPUs",
        ),
        (
            {"distributed_type": "FSDP", "fsdp_config": {"fsdp_version": 2, "fsdp_activation_checkpointing": True}},
            r"set rl.gradient_checkpointing=true",
        ),
        ({"compute_environment": "LOCAL_MACHINE"}, r"a.yaml has no distributed_type"),
    ],
)
def test_what_ppo_does_not_do_is_refused(write: Callable[..., str], content: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        environment_of(write(**content))


def test_a_launcher_of_deepspeed_is_refused() -> None:
    with pytest.raises(UserError, match="does not run under DeepSpeed"):
        sharding_of({"ACCELERATE_USE_DEEPSPEED": "true"})


def test_a_name_that_is_neither_shipped_nor_a_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is one of fsdp2, or the path of accelerate's YAML; got 'zero9'"):
        environment_of("zero9")
    (tmp_path / "b.yaml").write_text("a: [")
    with pytest.raises(UserError, match=r"is a YAML file of accelerate's; .*b.yaml"):
        environment_of(str(tmp_path / "b.yaml"))


def test_one_process_shards_nothing(make_settings: Make) -> None:
    with pytest.raises(UserError, match=r"rl.num_processes is 1; set it to the number of GPUs"):
        check_launch(make_settings(accelerate_config="fsdp2"))
    check_launch(make_settings(accelerate_config="fsdp2", num_processes=2))


def test_each_process_needs_a_device() -> None:
    check_devices(2, torch.device("cpu"))
    with pytest.raises(UserError, match=r"a GPU of its own; rl.num_processes=2, torch finds 0"):
        check_devices(2, torch.device("cuda"))
    with pytest.raises(UserError, match="got device=mps; set it to 1"):
        check_devices(2, torch.device("mps"))
