"""Which lengths the networks accept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from bai_sweep.generation import sample
from bai_sweep.ppo._experience import judge
from bai_sweep.ppo._networks import Networks
from bai_sweep.ppo._rollout import Rollout
from bai_sweep.records import UserError

Make = Callable[..., Any]
CPU = torch.device("cpu")
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "factor": 4.0,
    "short_factor": [1.0] * 8,
    "long_factor": [4.0] * 8,
    "original_max_position_embeddings": 16,
}
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}


@pytest.mark.parametrize(
    ("rope", "longest", "limit"),
    [
        (None, 64, "64 positions"),
        (DYNAMIC, 64, "64 positions"),
        (LONGROPE, 16, "16 original_max_position_embeddings of a model with longrope"),
    ],
    ids=["default", "dynamic", "longrope"],
)
def test_rows_must_fit_the_positions(
    make_model: Make, make_settings: Make, rope: dict[str, Any] | None, longest: int, limit: str
) -> None:
    """At the limit, sampler and scorer agree; past it, rows are refused."""
    settings = make_settings(max_new_tokens=longest - 3, minibatch_size=2)
    model = make_model(initializer_range=0.3, rope_parameters=rope)
    networks = Networks.of(model, settings, CPU, longest)
    prompts, noise = [[8, 9, 10], [11]], torch.Generator().manual_seed(0)
    drawn = sample(model, prompts, max_new_tokens=longest - 3, temperature=1.0, eos_token_ids=[], generator=noise)
    rollout = Rollout.of(prompts, drawn)
    logprobs = judge(networks, rollout, settings).logprobs
    torch.testing.assert_close(logprobs, rollout.sampled_logprobs, atol=1e-4, rtol=0)
    with pytest.raises(UserError, match=f"{limit}.* make {longest + 1}; lower rl.max_new_tokens"):
        Networks.of(model, settings, CPU, longest + 1)


def test_rope_of_each_type_of_layer(make_model: Make, make_settings: Make) -> None:
    model = make_model()
    model.config.rope_parameters = {"sliding_attention": {"rope_type": "default"}, "full_attention": LONGROPE}
    with pytest.raises(UserError, match="16 original_max_position_embeddings"):
        Networks.of(model, make_settings(), CPU, 17)
