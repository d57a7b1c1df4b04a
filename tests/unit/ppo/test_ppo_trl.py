"""GRPO and RLOO by TRL: the right batches, losses and reference, and figures that a plain computation gives too."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers import LlamaForCausalLM, MambaConfig, MambaForCausalLM, PreTrainedTokenizerFast

from bai_sweep.config import GroupSettings
from bai_sweep.ppo import DivergenceError
from bai_sweep.ppo.groups._trl import train_with_trl
from bai_sweep.records import StepTelemetry, UserError
from bai_sweep.rules import faults_of_training
from tests.unit.ppo import group_rewards
from tests.unit.ppo.conftest import SMALL, preset

Make = Callable[..., Any]
CPU = torch.device("cpu")
KINDS = ("grpo", "rloo")
TIMES = ("seconds/", "tokens_per_second/", "memory/")
NAMES = {
    "objective/kl", "objective/kl_k3", "objective/entropy", "objective/scores", "objective/scores_std",
    "objective/rlhf_reward", "objective/non_score_reward", "objective/kl_coef", "loss/policy_avg",
    "policy/clipfrac_avg", "policy/clipfrac_low", "policy/clipfrac_high", "grad_norm/actor", "lr", "episode",
    "completions/mean_length", "completions/min_length", "completions/max_length", "completions/clipped_ratio",
    "sampling/sampling_logp_difference/mean", "rewards/kept/mean", "seconds/rollout", "seconds/scoring",
    "seconds/training", "tokens_per_second/rollout", "tokens_per_second/scoring", "tokens_per_second/training",
    "tokens_per_second/step",
}  # fmt: skip


def settings_of(rl: str, **changes: Any) -> GroupSettings:
    ours = {name: value for name, value in SMALL.items() if name in GroupSettings.model_fields}
    settings = GroupSettings.model_validate(preset(rl) | ours | {"num_generations": 4} | changes)
    if faults := [f"{key}: {text}" for key, text in faults_of_training(settings.model_dump())]:
        raise ValueError("; ".join(faults))
    return settings


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    group_rewards.calls.clear()
    yield
    group_rewards.calls.clear()


class Run:
    """A training whose completions, rewards and weights at each rollout are kept."""

    def __init__(self, model: LlamaForCausalLM, tokenizer: Any, settings: GroupSettings, reward: Any) -> None:
        self.model, self.tokenizer, self.settings, self.reward = model, tokenizer, settings, reward
        self.initial = copy.deepcopy(model)
        self.at_rollout = [copy.deepcopy(model)]
        self.heard: list[StepTelemetry] = []

    def __call__(self, *, seed: int = 0, folder: Path | None = None, stop_after: int | None = None) -> Run:
        def on_step(record: StepTelemetry) -> None:
            self.heard.append(record)
            self.at_rollout.append(copy.deepcopy(self.model))
            if record.step == stop_after:
                raise KeyboardInterrupt(f"at step {stop_after}")

        self.telemetry = train_with_trl(
            self.model,
            self.tokenizer,
            self.settings,
            self.reward,
            seed=seed,
            device=CPU,
            on_step=on_step,
            folder=folder,
        )
        return self

    @property
    def figures(self) -> list[dict[str, float]]:
        return [{n: v for n, v in s.metrics.items() if not n.startswith(TIMES)} for s in self.heard]


@pytest.fixture
def make_run(make_model: Make, make_reward: Make, tokenizer: PreTrainedTokenizerFast) -> Callable[..., Run]:
    def make(rl: str, *, rows: Any = None, function: str = "group_rewards:spread", **changes: Any) -> Run:
        functions = {"kept": {"function": f"tests.unit.ppo.{function}", "weight": 1.0}}
        return Run(
            make_model(initializer_range=0.3), tokenizer, settings_of(rl, **changes), make_reward(rows, functions)
        )

    return make


def token_figures(model: LlamaForCausalLM, prompt: list[int], completion: list[int]) -> tuple[Any, Any]:
    """Log-probabilities and entropies of a completion's tokens, one row at a time, from all logits."""
    logits = model(input_ids=torch.tensor([prompt + completion])).logits[0].float()
    logprobs = torch.log_softmax(logits[len(prompt) - 1 : -1], dim=-1)
    chosen = torch.stack([row[token] for row, token in zip(logprobs, completion, strict=True)])
    return chosen, -(logprobs.exp() * logprobs).sum(dim=-1)


def completions_of(run: Run, step: int) -> list[tuple[list[int], list[int], float]]:
    """Prompt, completion and reward of every row of a step, as the reward function had them."""
    call = group_rewards.calls[step - 1]
    prompts = [run.tokenizer(prompt)["input_ids"] for prompt in call["prompts"]]
    return list(zip(prompts, call["completion_ids"], group_rewards.values(call), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_figures_of_a_batch_are_those_of_a_plain_computation(kind: str, make_run: Make) -> None:
    run = make_run(kind, steps=2, kl_coef=0.1)()
    metrics, policy = run.heard[1].metrics, run.at_rollout[1]
    kl, k3, entropy, lengths, scores = [], [], [], [], []
    with torch.no_grad():
        for prompt, completion, reward in completions_of(run, 2):
            logprobs, entropies = token_figures(policy, prompt, completion)
            ratio = logprobs - token_figures(run.initial, prompt, completion)[0]
            kl.append(float(ratio.sum()))
            k3.append(float((torch.exp(-ratio.double()) - 1 + ratio.double()).sum()))
            entropy.append(float(entropies.sum()))
            lengths.append(len(completion))
            scores.append(reward)
    assert abs(np.mean(kl)) > 1e-3  # the policy has moved
    assert metrics["objective/kl"] == pytest.approx(np.mean(kl), abs=1e-4)
    assert metrics["objective/kl_k3"] == pytest.approx(np.mean(k3), abs=1e-4)
    assert metrics["objective/entropy"] == pytest.approx(np.mean(entropy), abs=1e-4)
    assert metrics["completions/mean_length"] == np.mean(lengths)
    assert metrics["objective/scores"] == pytest.approx(np.mean(scores), abs=1e-5)
    assert metrics["rewards/kept/mean"] == pytest.approx(np.mean(scores), abs=1e-6)
    assert metrics["objective/scores_std"] == pytest.approx(np.std(scores, ddof=1), abs=1e-5)
    penalty = -0.1 * np.mean(kl) if kind == "rloo" else 0.0
    assert metrics["objective/non_score_reward"] == pytest.approx(penalty, abs=1e-5)
    assert metrics["objective/rlhf_reward"] == pytest.approx(np.mean(scores) + penalty, abs=1e-5)
    assert metrics["episode"] == 16


@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradient_are_the_papers_with_our_reference(kind: str, make_run: Make) -> None:
    """At the second step, where the KL to the initial actor is not 0, of a batch that is one minibatch."""
    special = {"loss_type": "grpo", "scale_rewards": "group"} if kind == "grpo" else {}
    run = make_run(kind, steps=2, kl_coef=0.5, minibatch_size=8, **special)
    # Where TRL would load its reference from: another model.
    run.model.config._name_or_path = "/nowhere"
    run()
    policy, group, coef = run.at_rollout[1], 4, 0.5
    policy.zero_grad()
    rows = completions_of(run, 2)
    said = [token_figures(policy, prompt, completion)[0] for prompt, completion, _ in rows]
    with torch.no_grad():
        ratios = [
            logprobs - token_figures(run.initial, p, c)[0] for logprobs, (p, c, _) in zip(said, rows, strict=True)
        ]
    losses = []
    for i, (logprobs, log_ratio) in enumerate(zip(said, ratios, strict=True)):
        mates = range(i // group * group, i // group * group + group)
        if kind == "grpo":
            peers = [rows[j][2] for j in mates]
            advantage = (rows[i][2] - np.mean(peers)) / (np.std(peers, ddof=1) + 1e-4)
            # rho * k3 (arXiv 2512.02556), whose gradient where rho is 1 is log_ratio times that of the log-probability
            loss = (-advantage * logprobs + coef * log_ratio * logprobs).mean()
        else:
            paid = [rows[j][2] - coef * float(ratios[j].sum()) for j in mates]
            others = (sum(paid) - paid[i % group]) / (group - 1)
            loss = -(paid[i % group] - others) * logprobs.sum()
        losses.append(loss)
    torch.autograd.backward(torch.stack(losses).mean())
    norm = math.sqrt(sum(float(p.grad.double().square().sum()) for p in policy.parameters()))
    assert run.heard[1].metrics["grad_norm/actor"] == pytest.approx(norm, rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_one_batch_of_whole_groups_in_the_order_of_ppo(kind: str, make_run: Make) -> None:
    run = make_run(kind, steps=3)(seed=5)
    drawn = random.Random("5/prompts").sample(range(12), 6)
    assert [answer for call in group_rewards.calls for answer in call["answer"]] == [
        i for i in drawn for _ in range(4)
    ]
    assert [call["answer"][0] in range(12) and len(call["prompts"]) for call in group_rewards.calls] == [8, 8, 8]
    assert all(len({tuple(ids) for ids in call["completion_ids"][:4]}) > 1 for call in group_rewards.calls)
    assert [record.step for record in run.heard] == [1, 2, 3]
    assert run.telemetry == tuple(run.heard)


def test_optimizer_steps_and_learning_rates(make_run: Make) -> None:
    rates = []
    hook = register_optimizer_step_post_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"]))
    try:
        run = make_run("grpo", steps=4, num_iterations=3, lr_schedule="linear", lr_warmup_steps=1)()
    finally:
        hook.remove()
    expected = [1e-3 * factor for factor in (1 / 2, 1.0, 2 / 3, 1 / 3)]
    assert rates == pytest.approx([rate for rate in expected for _ in range(6)])
    assert [record.metrics["lr"] for record in run.heard] == pytest.approx(expected)


@pytest.mark.parametrize("kind", KINDS)
def test_names_are_ppos_without_a_critic(kind: str, make_run: Make) -> None:
    metrics = make_run(kind, steps=1)().heard[0].metrics
    assert not NAMES - set(metrics)
    assert not {name for name in metrics if "critic" in name or "value" in name or "vf_" in name}
    assert all(math.isfinite(value) for value in metrics.values())
    assert metrics["objective/kl"] == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_figures_and_nothing_else_changes(kind: str, make_run: Make, tokenizer: Any) -> None:
    first, again, other = (make_run(kind, steps=2, precision="bf16", kl_coef=0.1) for _ in range(3))
    first.tokenizer.pad_token = None
    # beartype, which checks our types in the tests, draws from Python's generator
    states = [str(np.random.get_state()), torch.get_rng_state().tolist()]  # noqa: NPY002
    config, generation = first.model.config.to_dict(), first.model.generation_config.to_dict()
    members = set(vars(first.model))
    first()
    assert states == [str(np.random.get_state()), torch.get_rng_state().tolist()]  # noqa: NPY002
    assert first.model.config.to_dict() == config
    assert first.model.generation_config.to_dict() == generation
    assert set(vars(first.model)) == members
    assert first.tokenizer.pad_token is None
    assert not any(module.training for module in first.model.modules())
    assert all(p.grad is None and p.requires_grad and p.dtype == torch.float32 for p in first.model.parameters())
    assert again().figures == first.figures
    assert all(torch.equal(a, b) for a, b in zip(first.model.parameters(), again.model.parameters(), strict=True))
    assert other(seed=1).figures != first.figures


def test_minibatches_do_not_depend_on_what_rewards_draw(make_run: Make) -> None:
    plain, drawing = make_run("grpo", steps=2), make_run("grpo", steps=2, function="group_rewards:drawing")
    assert drawing().figures == plain().figures


def test_a_completion_without_a_reward_is_not_compared(make_run: Make) -> None:
    """Where one of each group is paid there is nothing to compare; as zeros, the others would be worse than it."""
    run = make_run("grpo", steps=1, num_generations=4, function="group_rewards:of_one_in_four")()

    assert run.heard[0].metrics["rewards/kept/mean"] == 2.0
    assert run.heard[0].metrics["grad_norm/actor"] == 0.0


def test_dropout_is_off(make_run: Make, make_model: Make) -> None:
    run, dropped = make_run("grpo", steps=2), make_run("grpo", steps=2)
    dropped.model = make_model(initializer_range=0.3, attention_dropout=0.5)
    assert dropped().figures == run().figures


def test_gradient_checkpointing_changes_nothing_and_is_off_afterwards(make_run: Make) -> None:
    plain, recomputed = make_run("grpo", steps=2), make_run("grpo", steps=2, gradient_checkpointing=True)
    assert recomputed().figures == plain().figures
    assert not any("forward" in vars(module) for module in recomputed.model.modules())


@pytest.mark.parametrize("loss_type", ["grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo"])
def test_every_loss_moves_the_actor(loss_type: str, make_run: Make) -> None:
    run = make_run("grpo", steps=1, loss_type=loss_type, minibatch_size=8)()
    metrics = run.heard[0].metrics
    assert metrics["grad_norm/actor"] > 0
    assert any(not torch.equal(a, b) for a, b in zip(run.model.parameters(), run.initial.parameters(), strict=True))
    assert ("policy/clipfrac_high" in metrics) == (loss_type not in {"sapo", "vespo"})


def test_cispo_bounds_the_ratio_at_one_plus_the_clip_range(make_run: Make) -> None:
    """At ratio 1 nothing is cut: its gradient is the policy gradient, as that of dapo."""
    cispo, dapo = (make_run("grpo", steps=1, minibatch_size=8, loss_type=t)() for t in ("cispo", "dapo"))
    norms = [run.heard[0].metrics["grad_norm/actor"] for run in (cispo, dapo)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_completions_teach_nothing_where_they_are_masked(kind: str, make_run: Make) -> None:
    masked, plain = (
        make_run(kind, steps=1, max_new_tokens=1, mask_truncated=m)().heard[0].metrics for m in (True, False)
    )
    assert masked["completions/clipped_ratio"] == 1.0  # with this seed, nothing ends at once
    assert masked["grad_norm/actor"] == 0.0 < plain["grad_norm/actor"]


def test_conversations_read_as_trl_itself_would_read_them(make_run: Make) -> None:
    rows = [{"prompt": [{"role": "user", "content": word}], "n": i} for i, word in enumerate("abcdefgh")]
    run = make_run("grpo", steps=2, rows=rows)()
    prompts = group_rewards.calls[0]["prompts"]
    trl_ids = run.tokenizer.apply_chat_template(
        conversation=prompts, add_generation_prompt=True, tokenize=True, return_dict=True
    )["input_ids"]
    policy = run.initial
    with torch.no_grad():
        entropies = [
            float(token_figures(policy, ids, completion)[1].sum())
            for ids, completion in zip(trl_ids, group_rewards.calls[0]["completion_ids"], strict=True)
        ]
    assert run.heard[0].metrics["objective/entropy"] == pytest.approx(np.mean(entropies), abs=1e-4)
    assert group_rewards.calls[0]["completions"][0][0]["role"] == "assistant"


def test_a_killed_run_goes_on_bit_for_bit(make_run: Make, tmp_path: Path) -> None:
    changes = {"steps": 4, "kl_coef": 0.1, "checkpoint_steps": 2, "num_iterations": 2, "lr_schedule": "cosine"}
    whole, killed, resumed, again = (make_run("grpo", **changes) for _ in range(4))
    whole()
    with pytest.raises(KeyboardInterrupt, match="at step 3"):
        killed(folder=tmp_path / "run", stop_after=3)
    resumed(folder=tmp_path / "run")
    assert resumed.figures == whole.figures
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True))
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["checkpoints"]
    assert again(folder=tmp_path / "run").telemetry == resumed.telemetry  # nothing is left to do


def test_what_a_listener_raises_ends_the_training_and_leaves_the_model_whole(make_run: Make) -> None:
    run = make_run("rloo", steps=4)
    with pytest.raises(KeyboardInterrupt, match="at step 2"):
        run(stop_after=2)
    assert [record.step for record in run.heard] == [1, 2]
    assert not any(module.training for module in run.model.modules())
    assert "forward" not in vars(run.model)
    assert all(p.grad is None for p in run.model.parameters())


@pytest.mark.parametrize(
    ("function", "fault"),
    [
        ("rewards:one_short", "a list of 8 rewards; step 1: it returned 7"),
        ("rewards:not_a_number", "finite rewards; step 1, completion 7"),
    ],
)
def test_rewards_that_break_a_rule(function: str, fault: str, make_run: Make) -> None:
    with pytest.raises(UserError, match=fault):
        make_run("grpo", function=function)()


@pytest.mark.parametrize(
    ("function", "what"), [("rewards:huge", "grad_norm/actor = inf"), ("group_rewards:largest", "a gradient is not")]
)
def test_what_is_not_finite_spoils_no_weights(function: str, what: str, make_run: Make, tmp_path: Path) -> None:
    run = make_run("grpo", steps=2, function=function, scale_rewards="none")
    with pytest.raises(DivergenceError, match=rf"grpo's losses and .* at step 1: {what}; .*; the batch is in"):
        run(folder=tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(run.model.parameters(), run.initial.parameters(), strict=True))
    assert all(p.grad is None for p in run.model.parameters())
    assert (tmp_path / "divergence-step-1" / "batch.jsonl").is_file()


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"max_prompt_tokens": 1}, "a prompt has 1 to 1 tokens"),
        ({"max_new_tokens": 99}, "the model's 64 positions"),
    ],
)
def test_prompts_that_do_not_fit(changes: dict[str, Any], fault: str, make_run: Make) -> None:
    with pytest.raises(UserError, match=fault):
        make_run("grpo", **changes)()


def test_a_model_that_cannot_be_sampled_is_refused(make_run: Make) -> None:
    run = make_run("grpo")
    run.model = MambaForCausalLM(MambaConfig(vocab_size=64, hidden_size=16, num_hidden_layers=1, state_size=4))
    with pytest.raises(UserError, match="whose state would take the padding in"):
        run()


def test_a_tokenizer_without_eos(make_run: Make) -> None:
    run = make_run("grpo")
    run.tokenizer.eos_token = None
    with pytest.raises(UserError, match="no EOS token"):
        run()


@pytest.mark.parametrize(
    ("kind", "changes", "fault"),
    [
        ("grpo", {"loss_type": "ppo"}, "Input should be 'grpo', 'dr_grpo', 'dapo'"),
        ("grpo", {"loss_type": None}, "loss_type: says how GRPO learns; got null"),
        ("rloo", {"scale_rewards": "group"}, "scale_rewards: is GRPO's and RLOO has none; got 'group'"),
        ("rloo", {"num_generations": 1}, "num_generations: 1 leaves nothing to compare"),
    ],
)
def test_settings_that_a_trainer_does_not_have(kind: str, changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        settings_of(kind, **changes)
