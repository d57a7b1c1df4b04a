"""Sampling from a causal language model, and the log-probabilities it gives to tokens.

The foundation that PPO and evaluation share: batched decoding with a KV cache that drops finished rows, scoring of
response tokens without a padded logit, and requests grouped by a token budget. It imports no stage.
"""

from bai_sweep.generation._requests import batches_by_tokens, continuation_logprobs, eos_ids, generate
from bai_sweep.generation._sample import Samples, sample, uniform_numbers
from bai_sweep.generation._scoring import TokenScorer, TokenScores, hidden_at, pad_right

__all__ = [
    "Samples",
    "TokenScorer",
    "TokenScores",
    "batches_by_tokens",
    "continuation_logprobs",
    "eos_ids",
    "generate",
    "hidden_at",
    "pad_right",
    "sample",
    "uniform_numbers",
]
