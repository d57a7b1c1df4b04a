"""PPO on a causal language model: actor, critic, frozen reference, rewards, and a telemetry record a step.

The modules, from the inside out: `_math` (formulas), `_rollout`, `_scalar` (critic and reward models), `_prompts`,
`_reward`, `_experience` (what is learned from), `_update` (how), `_trainer` (the loop); `_check` comes before it all.
"""

from bai_sweep.ppo._check import check
from bai_sweep.ppo._trainer import train
from bai_sweep.ppo._update import DivergenceError

__all__ = ["DivergenceError", "check", "train"]
