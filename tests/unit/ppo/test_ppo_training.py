"""The whole of PPO on tiny models: it repeats itself, and every part does what its setting says."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from bai_sweep.ppo import DivergenceError, train
from bai_sweep.ppo._telemetry import reproducible
from bai_sweep.ppo.rewards import Rewards
from bai_sweep.records import StepTelemetry, UserError
from tests.unit.ppo import rewards

Make = Callable[..., Any]
EOS = 1  # the tokenizer fixture's


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


def series(telemetry: tuple[StepTelemetry, ...], name: str) -> list[float]:
    return [step.metrics[name] for step in telemetry]


def steady(telemetry: tuple[StepTelemetry, ...]) -> list[dict[str, float]]:
    return [reproducible(step.metrics) for step in telemetry]


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


def test_telemetry_identities(run: Make) -> None:
    _, telemetry = run(steps=3)
    assert [t.step for t in telemetry] == [1, 2, 3]
    for t in telemetry:
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


def test_the_kl_penalty_holds_the_policy_back(run: Make) -> None:
    def final_kl(kl_coef: float) -> float:
        _, telemetry = run(steps=12, batch_size=16, minibatch_size=8, actor_learning_rate=3e-3, kl_coef=kl_coef)
        return sum(t.metrics["objective/kl"] for t in telemetry[-3:]) / 3

    assert final_kl(1.0) < 0.5 * final_kl(0.0)


def test_divergence_names_the_step(run: Make) -> None:
    huge = {"huge": {"function": "tests.unit.ppo.rewards:huge", "weight": 1.0}}
    with pytest.raises(DivergenceError, match=r"at step 1: loss/value_avg = inf, .*; lower rl.actor_learning_rate"):
        run(functions=huge)


def test_rewards_are_told_which_completions_ended(run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[bool, bool]] = []

    def listening(self: Rewards, batch: Any, texts: Any, ids: Any, ended: Any, *, step: int) -> Any:
        told.extend((end, row[-1] == EOS) for end, row in zip(ended, ids, strict=True))
        return give(self, batch, texts, ids, ended, step=step)

    give = Rewards.give
    monkeypatch.setattr(Rewards, "give", listening)
    run(steps=2)
    assert set(told) == {(True, True), (False, False)}


def test_the_actor_waits_for_the_critics_warmup(run: Make) -> None:
    """KL is measured before a step learns: it is 0 up to the first step that trains the actor."""
    _, telemetry = run(steps=4, critic_warmup_steps=2)
    assert series(telemetry, "objective/kl")[:3] == [0.0, 0.0, 0.0]
    assert telemetry[3].metrics["objective/kl"] != 0.0
    assert series(telemetry, "lr") == [0.0, 0.0, 1e-3, 1e-3]
    for step in telemetry:
        for name in ("policy/clipfrac_avg", "loss/policy_avg", "val/ratio", "val/ratio_max", "grad_norm/actor"):
            assert (name in step.metrics) == (step.step > 2), name
    losses = series(telemetry, "loss/value_avg")
    assert len(set(losses)) == 4  # the critic has learned in each


def test_the_kl_controller_steers_the_coefficient(run: Make) -> None:
    """It starts from the configured value and moves by Ziegler's rule, from the KL of the step before."""
    _, telemetry = run(steps=4, kl_coef=0.5, kl_target=0.05, kl_horizon=100, actor_learning_rate=1e-2)
    coefs, kl = series(telemetry, "objective/kl_coef"), series(telemetry, "objective/kl")
    assert coefs[0] == 0.5
    for before, after, nats in zip(coefs, coefs[1:], kl, strict=False):
        assert after == pytest.approx(before * (1 + max(-0.2, min(0.2, nats / 0.05 - 1)) * 8 / 100), abs=1e-12)
    assert coefs[1] < coefs[0]  # the KL of the first step is 0
    assert coefs[3] > coefs[2]
    for step in telemetry:
        others = -step.metrics["objective/kl_coef"] * step.metrics["objective/kl"]
        assert step.metrics["objective/non_score_reward"] == pytest.approx(others, abs=1e-6)


def test_the_kl_controller_waits_until_the_actor_learns(run: Make) -> None:
    _, telemetry = run(steps=4, critic_warmup_steps=2, kl_coef=0.5, kl_target=0.05, kl_horizon=100)
    coefs = series(telemetry, "objective/kl_coef")
    assert coefs[:3] == [0.5, 0.5, 0.5]
    assert coefs[3] != 0.5


def test_prompts_are_repeated_for_a_group(run: Make) -> None:
    rewards.calls.clear()
    run(steps=2, num_generations=4, functions={"r": {"function": "tests.unit.ppo.rewards:recording", "weight": 1.0}})
    for call in rewards.calls:
        groups = [call["prompts"][i : i + 4] for i in (0, 4)]
        assert [len({str(p) for p in group}) for group in groups] == [1, 1]
        assert len({str(group[0]) for group in groups}) == 2
        assert len({tuple(ids) for ids in call["completion_ids"]}) > 4
    assert len(rewards.calls) == 2


def test_a_batch_that_was_cut_off_whole_teaches_nothing(
    run: Make, make_model: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Each completion has one token, and hardly any of them is the EOS."""
    untouched = make_model()
    actor, telemetry = run(steps=1, max_new_tokens=1, mask_truncated=True, seed=1)
    assert telemetry[0].metrics["completions/clipped_ratio"] == 1.0
    assert "step 1: every completion was cut off; nothing is learned" in caplog.text
    assert "critic/vf_explained_var" not in telemetry[0].metrics
    assert all(map(math.isfinite, telemetry[0].metrics.values()))
    assert not any(name.startswith(("loss/", "grad_norm/")) for name in telemetry[0].metrics)
    assert all(torch.equal(a, b) for a, b in zip(actor.parameters(), untouched.parameters(), strict=True))


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
            raise PrunedError("at step 2")

    with pytest.raises(PrunedError, match="at step 2"):
        train(
            make_model(), tokenizer, make_settings(), make_reward(), seed=0, device=torch.device("cpu"), on_step=prune
        )
