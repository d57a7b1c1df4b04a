"""The whole of PPO on tiny models: it learns, it repeats itself, and it says what it did."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from bai_sweep.ppo import DivergenceError, train
from bai_sweep.ppo._reward import Rewards, Scored
from bai_sweep.records import StepTelemetry, UserError

Make = Callable[..., Any]
EOS = 1  # the tokenizer fixture's
NAMES = {
    "objective/kl", "objective/kl_k3", "objective/entropy", "objective/scores", "objective/scores_std",
    "objective/rlhf_reward", "objective/non_score_reward", "policy/approxkl_avg", "policy/clipfrac_avg",
    "loss/policy_avg", "loss/value_avg", "val/ratio", "critic/vf_explained_var", "grad_norm/actor", "grad_norm/critic",
    "completions/mean_length", "completions/min_length", "completions/max_length", "completions/clipped_ratio",
    "completions/mean_terminated_length", "sampling/sampling_logp_difference/mean", "rewards/count_a/mean", "episode",
    "lr", "seconds/rollout", "seconds/scoring", "seconds/training", "tokens_per_second/rollout",
    "tokens_per_second/step",
}  # fmt: skip


@pytest.fixture
def run(
    make_model: Make, make_settings: Make, make_reward: Make, tokenizer: PreTrainedTokenizerFast
) -> Callable[..., tuple[LlamaForCausalLM, tuple[StepTelemetry, ...]]]:
    def start(
        seed: int = 0, functions: Any = None, model: LlamaForCausalLM | None = None, **changes: Any
    ) -> tuple[LlamaForCausalLM, tuple[StepTelemetry, ...]]:
        actor = model or make_model()
        steps: list[StepTelemetry] = []
        telemetry = train(
            actor,
            tokenizer,
            make_settings(**changes),
            make_reward(functions=functions),
            seed=seed,
            device=torch.device("cpu"),
            on_step=steps.append,
        )
        assert list(telemetry) == steps
        return actor, telemetry

    return start


def steady(telemetry: tuple[StepTelemetry, ...]) -> list[dict[str, float]]:
    """All but the timings."""
    timed = ("seconds/", "tokens_per_second/")
    return [{k: v for k, v in t.metrics.items() if not k.startswith(timed)} for t in telemetry]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_equal_seeds_equal_runs(run: Make, precision: str) -> None:
    first, again, other = (run(seed=s, precision=precision, ppo_epochs=2) for s in (3, 3, 4))
    assert steady(first[1]) == steady(again[1]) != steady(other[1])
    for a, b in zip(first[0].parameters(), again[0].parameters(), strict=True):
        assert torch.equal(a, b)


def test_global_random_state_is_left_alone(run: Make, make_model: Make) -> None:
    model = make_model()
    before = torch.get_rng_state()
    run(model=model)
    assert torch.equal(before, torch.get_rng_state())


def test_telemetry_names_and_identities(run: Make) -> None:
    _, telemetry = run(steps=3)
    assert [t.step for t in telemetry] == [1, 2, 3]
    for t in telemetry:
        assert set(t.metrics) == NAMES
        assert all(isinstance(v, float) and math.isfinite(v) for v in t.metrics.values())
        assert t.metrics["episode"] == 8 * t.step
        assert t.metrics["rewards/count_a/mean"] == pytest.approx(t.metrics["objective/scores"], abs=1e-6)
        non_score = -0.02 * t.metrics["objective/kl"]
        assert t.metrics["objective/non_score_reward"] == pytest.approx(non_score, abs=1e-7)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-6), ("bf16", 1e-3)])
def test_before_the_first_update_all_policies_are_equal(run: Make, precision: str, tolerance: float) -> None:
    _, (first,) = run(steps=1, minibatch_size=8, precision=precision, temperature=0.7)
    assert first.metrics["val/ratio"] == pytest.approx(1.0, abs=tolerance)
    assert first.metrics["policy/approxkl_avg"] == pytest.approx(0.0, abs=tolerance)
    assert first.metrics["objective/kl"] == pytest.approx(0.0, abs=tolerance)
    assert first.metrics["policy/clipfrac_avg"] == 0.0


def test_whitened_advantages_give_zero_policy_loss_at_ratio_one(run: Make) -> None:
    _, (first,) = run(steps=1, minibatch_size=8)
    assert first.metrics["loss/policy_avg"] == pytest.approx(0.0, abs=1e-6)
    assert first.metrics["grad_norm/actor"] > 1e-4


def test_only_weights_change_and_no_gradient_is_left(run: Make, make_model: Make) -> None:
    untouched = make_model()
    actor, _ = run(steps=1)
    assert all(p.grad is None for p in actor.parameters())
    assert not actor.training
    assert actor.config._attn_implementation == untouched.config._attn_implementation
    assert any(not torch.equal(a, b) for a, b in zip(actor.parameters(), untouched.parameters(), strict=True))


def test_a_critic_from_a_reward_model_begins_with_its_values(run: Make, reward_model: str) -> None:
    _, cold = run(steps=1)
    _, warm = run(steps=1, critic=reward_model)
    assert cold[0].metrics["objective/scores"] == warm[0].metrics["objective/scores"]
    assert cold[0].metrics["critic/vf_explained_var"] == pytest.approx(0.0, abs=1e-6)  # all values are 0
    assert abs(warm[0].metrics["critic/vf_explained_var"]) > 1e-3


def test_it_learns(run: Make) -> None:
    """The share of the word `a` rises from chance (1 in 22) in every seed, and the KL to the reference with it."""
    for seed in range(3):
        _, telemetry = run(
            seed=seed, steps=15, batch_size=16, minibatch_size=8, actor_learning_rate=6e-3, kl_coef=0.001
        )
        scores = [t.metrics["objective/scores"] for t in telemetry]
        kl = [t.metrics["objective/kl"] for t in telemetry]
        assert sum(scores[:3]) / 3 < 0.1
        assert sum(scores[-3:]) / 3 > 0.8, scores
        assert sum(kl[-3:]) / 3 > 1.0


def test_the_kl_penalty_holds_the_policy_back(run: Make) -> None:
    def final_kl(kl_coef: float) -> float:
        _, telemetry = run(steps=12, batch_size=16, minibatch_size=8, actor_learning_rate=3e-3, kl_coef=kl_coef)
        return sum(t.metrics["objective/kl"] for t in telemetry[-3:]) / 3

    assert final_kl(1.0) < 0.5 * final_kl(0.0)


def test_divergence_names_the_step(run: Make) -> None:
    huge = {"huge": {"function": "tests.unit.ppo.rewards:huge", "weight": 1.0}}
    with pytest.raises(DivergenceError, match=r"at step 1: loss/value_avg = inf; lower rl.actor_learning_rate"):
        run(functions=huge)


def test_rewards_are_told_which_completions_ended(run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[bool, bool]] = []

    def listening(self: Rewards, batch: Any, texts: Any, ids: Any, ended: Any, *, step: int) -> Scored:
        told.extend((end, row[-1] == EOS) for end, row in zip(ended, ids, strict=True))
        return score(self, batch, texts, ids, ended, step=step)

    score = Rewards.score
    monkeypatch.setattr(Rewards, "score", listening)
    run(steps=2)
    assert set(told) == {(True, True), (False, False)}


def test_a_tokenizer_without_eos_is_refused(run: Make, tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.eos_token = None
    with pytest.raises(UserError, match="this tokenizer has no EOS token"):
        run()


def test_a_listener_can_end_the_training(
    make_model: Make, make_settings: Make, make_reward: Make, tokenizer: PreTrainedTokenizerFast
) -> None:
    class PrunedError(Exception):
        pass

    def prune(telemetry: StepTelemetry) -> None:
        if telemetry.step == 2:
            raise PrunedError

    with pytest.raises(PrunedError):
        train(
            make_model(), tokenizer, make_settings(), make_reward(), seed=0, device=torch.device("cpu"), on_step=prune
        )
