"""What is taken from accelerate's configuration, and what is refused."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file

from bai_sweep.ppo.processes import (
    SHIPPED,
    _accelerate,
    check_devices,
    check_launch,
    environment_of,
    sharding_of,
    zero_of,
)
from bai_sweep.ppo.processes._launch import launch_environment
from bai_sweep.records import UserError

Make = Callable[..., Any]


def test_accelerate_reads_every_shipped_configuration_and_so_do_we() -> None:
    assert sorted(path.stem for path in SHIPPED.glob("*.yaml")) == ["fsdp2", "zero2"]
    theirs, ours = load_config_from_file(str(SHIPPED / "fsdp2.yaml")), environment_of("fsdp2")
    assert theirs.distributed_type == "FSDP"
    assert ours["ACCELERATE_USE_FSDP"] == "true"
    assert ours["FSDP_VERSION"] == str(theirs.fsdp_config["fsdp_version"]) == "2"
    assert sharding_of(ours) is theirs.fsdp_config["fsdp_reshard_after_forward"]
    theirs, ours = load_config_from_file(str(SHIPPED / "zero2.yaml")), environment_of("zero2")
    assert theirs.distributed_type == "DEEPSPEED"
    stage = str(theirs.deepspeed_config["zero_stage"])
    assert ours == {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": stage}
    assert sharding_of(ours) is None


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
        ({"distributed_type": "XLA"}, r"has XLA; use fsdp2"),
        ({"distributed_type": "DEEPSPEED", "deepspeed_config": {"zero_stage": 3}}, r"got zero_stage 3; set it to 2"),
        (
            {"distributed_type": "DEEPSPEED", "deepspeed_config": {"gradient_clipping": 1.0}},
            r"gradient_clipping; leave it out and set rl.max_grad_norm",
        ),
        (
            {"distributed_type": "DEEPSPEED", "deepspeed_config": {"offload_optimizer_device": "cpu"}},
            r"offload_optimizer_device; leave it out",
        ),
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


def test_deepspeed_is_asked_for_only_where_it_is_installed(
    monkeypatch: pytest.MonkeyPatch, make_settings: Make
) -> None:
    launched = {"ACCELERATE_USE_DEEPSPEED": "true"}
    monkeypatch.setattr(_accelerate, "find_spec", lambda name: object())
    assert zero_of(launched)
    assert not zero_of({})
    with pytest.raises(UserError, match=r"got zero_stage 3"):
        zero_of(launched | {"ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"})
    monkeypatch.setattr(_accelerate, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'bai-sweep\[deepspeed\]'"):
        check_launch(make_settings(accelerate_config="zero2", num_processes=2))


def test_a_name_that_is_neither_shipped_nor_a_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is one of fsdp2, zero2, or the path of accelerate's YAML; got 'zero9'"):
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


def test_processes_of_one_machine_meet_on_its_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    name = launch_environment(None, torch.device("cpu"), threads=2)["GLOO_SOCKET_IFNAME"]
    assert name == ("lo0" if sys.platform == "darwin" else "lo")
    assert name in {interface for _, interface in socket.if_nameindex()}

    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "eth7")
    assert launch_environment(None, torch.device("cuda"), threads=2) == {
        "GLOO_SOCKET_IFNAME": "eth7",
        "OMP_NUM_THREADS": "2",
    }
