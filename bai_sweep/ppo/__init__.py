"""PPO on a causal language model: actor, critic, frozen reference, rewards, and a telemetry record a step.

`PPOTrainer` with a `PPOConfig` is PPO from Python; `train` is PPO as a trial's configuration says, and `check` finds
what is wrong with that before anything is loaded. docs/ppo.md has the algorithm, docs/metrics.md the telemetry.
"""

from bai_sweep.ppo._check import check
from bai_sweep.ppo._config import PPOConfig
from bai_sweep.ppo._errors import DivergenceError
from bai_sweep.ppo._stage import train
from bai_sweep.ppo._trainer import PPOTrainer

__all__ = ["DivergenceError", "PPOConfig", "PPOTrainer", "check", "train"]
