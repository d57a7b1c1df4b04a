"""Completions: the engines that sample them, and the layout in which they are trained on."""

from bai_sweep.ppo.rollouts._engine import HFEngine, RolloutEngine
from bai_sweep.ppo.rollouts._rollout import PASS_TOKENS, Places, ResponseTokens, Rollout, group_sizes

__all__ = ["PASS_TOKENS", "HFEngine", "Places", "ResponseTokens", "Rollout", "RolloutEngine", "group_sizes"]
