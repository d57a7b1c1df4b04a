"""The processes that share a run: joining them, launching them, what they tell each other."""

from bai_sweep.ppo.processes._accelerate import SHIPPED, check_launch, environment_of, sharding_of, zero_of
from bai_sweep.ppo.processes._distributed import PeerError, Processes
from bai_sweep.ppo.processes._job import GO, STOP, Job, Said, read_actor, write_trained
from bai_sweep.ppo.processes._launch import PEER, ProcessError, check_devices, train_in_processes

__all__ = [
    "GO",
    "PEER",
    "SHIPPED",
    "STOP",
    "Job",
    "PeerError",
    "ProcessError",
    "Processes",
    "Said",
    "check_devices",
    "check_launch",
    "environment_of",
    "read_actor",
    "sharding_of",
    "train_in_processes",
    "write_trained",
    "zero_of",
]
