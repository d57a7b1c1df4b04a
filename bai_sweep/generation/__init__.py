"""Sampling from a causal language model, and the log-probabilities it gives to tokens.

The foundation that PPO and evaluation share: batched decoding with a KV cache that drops finished rows, scoring of
response tokens without a padded logit, and requests grouped by a token budget. It imports no stage.
"""

from bai_sweep.generation._batches import batches_by_tokens, in_order
from bai_sweep.generation._continuations import continuation_logprobs
from bai_sweep.generation._draw import uniform_numbers
from bai_sweep.generation._generate import generate
from bai_sweep.generation._sample import Samples, sample
from bai_sweep.generation._scoring import TokenScorer, TokenScores, hidden_at, pad_right
from bai_sweep.generation._stops import eos_ids

__all__ = [
    "Samples",
    "TokenScorer",
    "TokenScores",
    "batches_by_tokens",
    "continuation_logprobs",
    "eos_ids",
    "generate",
    "hidden_at",
    "in_order",
    "pad_right",
    "sample",
    "uniform_numbers",
]
