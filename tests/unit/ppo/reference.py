"""PPO's formulas once more, in float64 with plain loops, one row and one token at a time, written from the papers.

Nothing here is shared with bai_sweep.ppo. Derivatives are worked out by hand; `test_ppo_reference.py` checks them by
central differences. A ragged batch is a list of rows, each a list of its response tokens only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Rows = list[list[float]]


def kl_token(logprob: float, reference: float, estimator: str) -> tuple[float, float]:
    """Value and derivative by `logprob` (Schulman 2020, with his ratio pi_ref / pi = exp(-r))."""
    ratio = math.exp(reference) / math.exp(logprob)
    if estimator == "k1":
        return -math.log(ratio), 1.0
    if estimator == "k2":
        return math.log(ratio) ** 2 / 2, -math.log(ratio)
    if estimator == "k3":
        return ratio - 1 - math.log(ratio), 1 - ratio
    return abs(math.log(ratio)), float(np.sign(-math.log(ratio)))


def controlled(coef: float, target: float, horizon: int, seen: list[tuple[float, int]]) -> list[float]:
    """The coefficient after each (KL, episodes), Ziegler et al. 2019, section 2.2."""
    coefs = []
    for kl, episodes in seen:
        error = (kl - target) / target
        error = min(error, 0.2)
        error = max(error, -0.2)
        coef = coef * (1 + error * (episodes / horizon))
        coefs.append(coef)
    return coefs


def rewards(scores: list[float], kl: Rows, coef: float) -> Rows:
    """Minus the KL penalty on every token, the score on the last (Ouyang et al. 2022)."""
    out = []
    for score, row in zip(scores, kl, strict=True):
        paid = [-coef * token for token in row]
        paid[-1] += score
        out.append(paid)
    return out


def gae(rewards: Rows, values: Rows, gamma: float, lambdas: list[float]) -> tuple[Rows, Rows]:
    """Schulman et al. 2016, equation 16, as the explicit sum over later temporal differences."""
    advantages, returns = [], []
    for reward, value, lam in zip(rewards, values, lambdas, strict=True):
        n = len(reward)
        deltas = [reward[t] + gamma * (value[t + 1] if t + 1 < n else 0.0) - value[t] for t in range(n)]
        row = [sum((gamma * lam) ** k * deltas[t + k] for k in range(n - t)) for t in range(n)]
        advantages.append(row)
        returns.append([a + v for a, v in zip(row, value, strict=True)])
    return advantages, returns


def adaptive_lambda(length: int, alpha: float) -> float:
    """VAPO's, with 0 where a short response makes it negative."""
    return max(0.0, 1 - 1 / (alpha * length))


def whitened(rows: Rows, variant: str) -> Rows:
    """TRL's masked_whiten: (x - mean) / sqrt(var + 1e-8), n - 1 in the variance; `std` puts the mean back."""
    tokens = [token for row in rows for token in row]
    mean = sum(tokens) / len(tokens)
    variance = sum((token - mean) ** 2 for token in tokens) / (len(tokens) - 1)
    if variant == "none":
        return rows
    shift = mean if variant == "std" else 0.0
    return [[(token - mean) / math.sqrt(variance + 1e-8) + shift for token in row] for row in rows]


def overlong(length: int, longest: int, buffer: int, penalty: float) -> float:
    """DAPO, equation 13, case by case and negated; the paper's punishment is 1."""
    if length <= longest - buffer:
        return 0.0
    if length <= longest:
        return -penalty * ((longest - buffer) - length) / buffer
    return penalty


def importance(trainer: Rows, sampled: Rows, correction: str, cap: float) -> Rows:
    """pi_trainer / pi_sampler of a token or of the whole row, truncated at the cap or dropped above it."""
    out = []
    for ours, theirs in zip(trainer, sampled, strict=True):
        ratios = [math.exp(a) / math.exp(b) for a, b in zip(ours, theirs, strict=True)]
        if correction.startswith("sequence"):
            ratios = [math.prod(ratios)] * len(ratios)
        if correction.endswith("truncate"):
            ratios = [min(ratio, cap) for ratio in ratios]
        if correction.endswith("mask"):
            ratios = [ratio if ratio <= cap else 0.0 for ratio in ratios]
        out.append([1.0] * len(ratios) if correction == "none" else ratios)
    return out


def aggregate(terms: Rows, trained: list[bool], aggregation: str, constant: int) -> float:
    """One number from each token's, over the rows that are trained on; written as the papers define it."""
    kept = [row for row, train in zip(terms, trained, strict=True) if train]
    if aggregation == "token":
        return sum(sum(row) for row in kept) / sum(len(row) for row in kept)
    if aggregation == "sequence":
        return sum(sum(row) / len(row) for row in kept) / len(kept)
    return sum(sum(row) / constant for row in kept) / len(terms)


def spread(slopes: Rows, trained: list[bool], aggregation: str, constant: int) -> Rows:
    """The derivative of `aggregate` by each token's variable, given the derivative of its own term."""
    tokens = sum(len(row) for row, train in zip(slopes, trained, strict=True) if train)
    out = []
    for row, train in zip(slopes, trained, strict=True):
        share = {
            "token": 1 / tokens,
            "sequence": 1 / (len(row) * sum(trained)),
            "constant": 1 / (constant * len(slopes)),
        }[aggregation]
        out.append([share * slope if train else 0.0 for slope in row])
    return out


@dataclass(frozen=True)
class Clip:
    low: float
    high: float
    dual: float | None


@dataclass(frozen=True)
class Token:
    """One token's part of the policy loss: its term, the derivative by the new log-probability, and what bound it."""

    loss: float
    slope: float
    bound: str


def policy_token(logprob: float, old: float, advantage: float, clip: Clip) -> Token:
    """PPO's objective is min(A rho, A clip(rho)), with a dual clip max(that, c A) for A < 0; the loss its negative."""
    rho = math.exp(logprob) / math.exp(old)
    if advantage > 0 and rho > 1 + clip.high:
        return Token(-advantage * (1 + clip.high), 0.0, "high")
    if advantage < 0 and rho < 1 - clip.low:
        return Token(-advantage * (1 - clip.low), 0.0, "low")
    if advantage < 0 and clip.dual is not None and rho > clip.dual:
        return Token(-advantage * clip.dual, 0.0, "dual")
    return Token(-advantage * rho, -advantage * rho, "")


def value_token(value: float, old: float, target: float, clip: float | None) -> tuple[float, float, bool]:
    """Half the larger of the two squared errors, its derivative by `value`, and whether the clip held it."""
    plain = (value - target) ** 2 / 2
    if clip is None:
        return plain, value - target, False
    near = min(max(value, old - clip), old + clip)
    held = (near - target) ** 2 / 2
    return (held, 0.0, True) if held > plain else (plain, value - target, False)
