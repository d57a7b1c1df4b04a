"""What completions are paid: reward functions, reward models, their weighted sum."""

from bai_sweep.ppo.rewards._functions import FunctionReward, import_function
from bai_sweep.ppo.rewards._models import ModelReward
from bai_sweep.ppo.rewards._rewards import Rewards, Scored, completion_texts, hidden_tokens
from bai_sweep.ppo.rewards._sources import RewardFunctions, Tokenizers, configured_rewards, functions_of, make_rewards

__all__ = [
    "FunctionReward",
    "ModelReward",
    "RewardFunctions",
    "Rewards",
    "Scored",
    "Tokenizers",
    "completion_texts",
    "configured_rewards",
    "functions_of",
    "hidden_tokens",
    "import_function",
    "make_rewards",
]
