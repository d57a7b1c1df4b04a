"""How far the policy is from its reference: estimates of the KL divergence, and the controller of its coefficient.

Sources: Schulman 2020 ("Approximating KL divergence", joschu.net/blog/kl-approx.html) for the estimators; Tang and
Munos 2025 ("On a few pitfalls in KL divergence gradient estimation for RL", arXiv 2506.09477) for their gradients;
Ziegler et al. 2019 (arXiv 1909.08593) for the controller.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from bai_sweep.records import UserError

Estimator = Literal["k1", "k2", "k3", "abs"]

MAX_ERROR = 0.2


def kl_estimate(
    logprobs: Float[Tensor, "*shape"], reference: Float[Tensor, "*shape"], estimator: Estimator
) -> Float[Tensor, "*shape"]:
    """Per-token estimates of KL(policy || reference), in nats, from tokens that the policy drew.

    With `r = log pi - log ref`, positive where the policy made the token more likely than the reference does. All
    four are positive on average when the policy has moved away, so a penalty is subtracted from a reward and added
    to a loss.

    | estimator | value            | of one token   | mean over the policy's tokens                              |
    |-----------|------------------|----------------|------------------------------------------------------------|
    | k1        | r                | either sign    | KL(pi, ref): unbiased                                      |
    | k2        | r^2 / 2          | never negative | biased; equals KL to second order in r                     |
    | k3        | exp(-r) - 1 + r  | never negative | KL(pi, ref): unbiased; less variance than k1 for a small r |
    | abs       | abs(r)           | never negative | biased: KL or more                                         |

    In a reward only the value counts. In a loss only the derivative counts, and its mean over tokens of the present
    policy is the gradient of something else:

    | estimator | derivative by log pi | its mean is the gradient of                                             |
    |-----------|----------------------|-------------------------------------------------------------------------|
    | k1        | 1                    | nothing (its mean is 0: it adds noise and does not pull)                 |
    | k2        | r                    | KL(pi, ref), the reverse KL that is meant                                |
    | k3        | 1 - exp(-r)          | KL(ref, pi), the forward KL                                              |
    | abs       | sign(r)              | sum(abs(pi - ref)) over the vocabulary, twice the total variation        |

    These hold token by token, for a fixed state: what a token does to the KL of later ones is left out, in all four.
    """
    log_ratio = logprobs - reference
    match estimator:
        case "k1":
            return log_ratio
        case "k2":
            return 0.5 * log_ratio.square()
        case "k3":
            # expm1 keeps the digits that exp(-r) - 1 loses for a small r, where policy and reference mostly are.
            return torch.expm1(-log_ratio) + log_ratio
        case "abs":
            return log_ratio.abs()


@final
class KLController:
    """The KL coefficient: fixed, or steered so that the KL of an episode comes to a target.

    Ziegler et al. 2019, section 2.2: `error = clip(kl / target - 1, -0.2, 0.2)` and `coef *= 1 + error * episodes /
    horizon`; a KL above its target raises the coefficient. (The paper's constant, 0.1 a step, is the number of
    episodes of a step over the horizon.)

    Args:
        coef: The coefficient to begin with, reward per nat.
        target: The KL of an episode to keep to, nats, summed over its tokens; None keeps `coef` as it is.
        horizon: Episodes after which a constant error of 0.2 has changed the coefficient by about a fifth.
    """

    def __init__(self, coef: float, target: float | None, horizon: int) -> None:
        self.coef, self._target, self._horizon = coef, target, horizon

    def update(self, kl: float, episodes: int) -> None:
        """Takes in the mean KL per episode (nats) of the `episodes` of one step.

        Raises:
            UserError: More episodes than the horizon, so that the coefficient could turn negative.
        """
        if self._target is None:
            return
        if episodes > self._horizon:
            raise UserError(
                f"the KL controller's horizon is at least the episodes of a step; got a horizon of {self._horizon} "
                f"for {episodes} episodes; raise rl.kl_horizon"
            )
        error = min(max(kl / self._target - 1.0, -MAX_ERROR), MAX_ERROR)
        self.coef *= 1.0 + error * episodes / self._horizon

    def state_dict(self) -> dict[str, float]:
        """What a checkpoint keeps: target and horizon come from the configuration."""
        return {"coef": self.coef}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Goes on from `state_dict()`."""
        self.coef = state["coef"]
