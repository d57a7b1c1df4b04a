"""What a step reports, against plain Python and NumPy, and that docs/metrics.md says what each name is."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bai_sweep.generation import Samples, sample
from bai_sweep.ppo import train
from bai_sweep.ppo._experience import Experience, experience_of, judge
from bai_sweep.ppo._telemetry import (
    _lengths,
    describe,
    peak_memory,
    repetition_ratio,
    reproducible,
    start_memory,
    timings,
)
from bai_sweep.ppo.processes import Processes
from bai_sweep.ppo.rollouts import Rollout

Make = Callable[..., Any]
PROMPTS = [[8, 9, 10], [11], [12, 13, 14, 15, 16], [9, 9]]
SCORES = [1.0, -0.5, 2.0, 0.0]
DOCS = Path(__file__).parents[3] / "docs" / "metrics.md"


@pytest.fixture
def make_experience(networks_of: Make, make_settings: Make) -> Callable[..., Experience]:
    def make(scores: list[float] = SCORES, **changes: Any) -> Experience:
        settings = make_settings(temperature=0.8, batch_size=4, minibatch_size=2, kl_coef=0.1, **changes)
        networks = networks_of(settings, moved=0.02)
        drawn = sample(
            networks.actor,
            PROMPTS[: len(scores)],
            max_new_tokens=settings.max_new_tokens,
            temperature=settings.temperature,
            eos_token_ids=[1, 2, 3],
            generator=torch.Generator().manual_seed(4),
        )
        rollout = Rollout.of(PROMPTS[: len(scores)], drawn)
        judgement = judge(networks, rollout, settings, Processes())
        judgement = replace(judgement, probes={"sft": judgement.logprobs - 0.25 * rollout.mask})
        return experience_of(rollout, judgement, torch.tensor(scores), settings, settings.kl_coef)

    return make


def test_figures_of_a_batch(make_experience: Make) -> None:
    penalties = {"missing_eos_penalty": 0.3, "overlong_buffer": 8, "overlong_penalty": 0.5}
    experience = make_experience(**penalties)
    figures = describe(experience)
    judgement, rollout = experience.judgement, experience.rollout
    lengths, ended, mask = rollout.lengths.numpy(), rollout.ended.numpy(), rollout.mask.numpy()
    assert 0 < ended.sum() < 4
    policy, reference, entropies, values = (
        x.double().numpy() for x in (judgement.logprobs, judgement.reference, judgement.entropies, judgement.values)
    )
    overlong = 0.5 * np.clip((lengths - 4) / 8, 0, 1)
    returns = experience.returns.double().numpy()
    sampled = np.abs(policy - rollout.sampled_logprobs.double().numpy())[mask]
    expected = {
        "objective/kl": (policy - reference).sum(1).mean(),
        "objective/kl_k3": ((np.exp(reference - policy) - 1 - (reference - policy)) * mask).sum(1).mean(),
        "objective/kl_to/sft": 0.25 * lengths.mean(),
        "objective/perplexity/sft": np.exp(0.25 - policy[mask].mean()),
        "objective/entropy": entropies.sum(1).mean(),
        "policy/entropy_avg": entropies[mask].mean(),
        "objective/scores": 0.625,
        "objective/scores_std": np.std(SCORES, ddof=1),
        "objective/missing_eos_penalty": 0.3 * (~ended).mean(),
        "objective/overlong_penalty": overlong.mean(),
        "objective/non_score_reward": -0.1 * (policy - reference).sum(1).mean()
        - 0.3 * (~ended).mean()
        - overlong.mean(),
        "critic/vf_explained_var": 1 - np.var((returns - values)[mask]) / np.var(returns[mask]),
        "sampling/sampling_logp_difference/mean": sampled.mean(),
        "sampling/sampling_logp_difference/max": sampled.max(),
        "completions/mean_length": lengths.mean(),
        "completions/min_length": lengths.min(),
        "completions/max_length": lengths.max(),
        "completions/p10_length": np.quantile(lengths, 0.1),
        "completions/p50_length": np.quantile(lengths, 0.5),
        "completions/p90_length": np.quantile(lengths, 0.9),
        "completions/clipped_ratio": (~ended).mean(),
        "completions/mean_terminated_length": lengths[ended].mean(),
    }
    expected["objective/rlhf_reward"] = expected["objective/scores"] + expected["objective/non_score_reward"]
    assert overlong.min() == 0 < overlong.max()
    assert figures.keys() - expected.keys() == {"completions/repetition_ratio"}
    assert {name: figures[name] for name in expected} == pytest.approx(expected, abs=1e-5)


def test_lengths_by_hand() -> None:
    lengths = torch.tensor([4, 1, 2, 3, 5, 21, 7, 8, 9, 10, 11])
    tokens = torch.ones(11, 21, dtype=torch.long)
    samples = Samples(tokens=tokens, logprobs=torch.zeros(11, 21), lengths=lengths, ended=lengths != 21)
    figures = _lengths(Rollout.of([[1]] * 11, samples))
    assert figures == pytest.approx(
        {
            "completions/mean_length": 81 / 11,
            "completions/min_length": 1.0,
            "completions/max_length": 21.0,
            "completions/p10_length": 2.0,
            "completions/p50_length": 7.0,
            "completions/p90_length": 11.0,
            "completions/clipped_ratio": 1 / 11,
            "completions/mean_terminated_length": 6.0,
        }
    )


def test_what_is_not_computed_is_absent(make_experience: Make) -> None:
    plain = describe(make_experience())
    assert not any("penalty" in name or "importance" in name for name in plain)
    assert "objective/scores_std" not in describe(make_experience(scores=[1.0]))
    experience = make_experience()
    cut = replace(experience.rollout, ended=torch.zeros(4, dtype=torch.bool))
    assert "completions/mean_terminated_length" not in describe(replace(experience, rollout=cut))


def test_the_sampler_may_not_know_its_log_probabilities(make_experience: Make) -> None:
    experience = make_experience()
    rollout, logprobs = experience.rollout, experience.judgement.logprobs
    some = torch.full_like(logprobs, float("nan"))
    some[:2, 0] = logprobs[:2, 0] + torch.tensor([0.5, -0.25])
    figures = describe(replace(experience, rollout=replace(rollout, sampled_logprobs=some)))
    assert figures["sampling/sampling_logp_difference/mean"] == pytest.approx(0.375, abs=1e-6)
    assert figures["sampling/sampling_logp_difference/max"] == pytest.approx(0.5, abs=1e-6)
    none = torch.full_like(logprobs, float("nan"))
    unknown = describe(replace(experience, rollout=replace(rollout, sampled_logprobs=none)))
    assert not any(name.startswith("sampling/") for name in unknown)


def test_importance_weights_are_reported_after_the_cap(make_experience: Make) -> None:
    experience = make_experience(importance_correction="token_truncate", importance_cap=1.5)
    weights = torch.tensor([[1.5, 0.5], [1.0, 9.0]])  # the last one stands outside the mask
    experience = replace(
        experience,
        rollout=replace(experience.rollout, mask=experience.rollout.mask.clone()),
        importance=torch.ones_like(experience.importance),
    )
    experience.importance[:2, :2] = weights
    experience.rollout.mask[1, 1] = False
    figures = describe(experience)
    name = "sampling/importance_sampling_ratio"
    count = int(experience.rollout.mask.sum())
    assert [figures[f"{name}/{kind}"] for kind in ("min", "mean", "max")] == pytest.approx([0.5, 1.0, 1.5])
    assert count > 4


class TestRepetition:
    @given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=30), min_size=1, max_size=5))
    @hypothesis_settings(max_examples=60, deadline=None)
    def test_against_the_definition(self, rows: list[list[int]]) -> None:
        shares = []
        for row in rows:
            grams = [row[i : i + 4] for i in range(len(row) - 3)]
            before = [gram in grams[:i] for i, gram in enumerate(grams)]
            shares.append(np.mean(before) if before else 0.0)
        assert repetition_ratio(rows) == pytest.approx(np.mean(shares), abs=1e-12)

    def test_by_hand(self) -> None:
        assert repetition_ratio([[1, 2, 3]]) == 0.0
        assert repetition_ratio([[5] * 13]) == pytest.approx(0.9)  # ten 4-grams, one of them new
        assert repetition_ratio([[5] * 13, list(range(13))]) == pytest.approx(0.45)


def test_timings_by_hand() -> None:
    assert timings([10.0, 12.0, 12.5, 16.5], sampled=100, trained=160) == {
        "seconds/rollout": 2.0,
        "seconds/scoring": 0.5,
        "seconds/training": 4.0,
        "tokens_per_second/rollout": 50.0,
        "tokens_per_second/scoring": 200.0,
        "tokens_per_second/training": 40.0,
        "tokens_per_second/step": pytest.approx(100 / 6.5),
    }


def test_peak_memory_is_what_the_kernel_says() -> None:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("this system has no /proc")
    got = peak_memory(torch.device("cpu"))["memory/peak_mib"]
    high = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    assert high is not None
    assert got == pytest.approx(int(high[1]) / 1024, rel=0.02)


def test_peak_memory_of_a_gpu_is_that_of_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, reset = torch.device("cuda", 1), []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset.append)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", {gpu: 3 * 2**20}.__getitem__)
    start_memory(torch.device("cpu"))
    assert reset == []
    start_memory(gpu)
    assert reset == [gpu]
    assert peak_memory(gpu) == {"memory/peak_mib": 3.0}


def test_reproducible_leaves_out_what_the_machine_decides() -> None:
    figures = {"seconds/rollout": 1.0, "tokens_per_second/step": 2.0, "memory/peak_mib": 3.0, "objective/kl": 4.0}
    assert reproducible(figures) == {"objective/kl": 4.0}


def documented() -> set[str]:
    """The names in the first column of the PPO part of docs/metrics.md."""
    part = DOCS.read_text(encoding="utf-8").split("## PPO, one record a step")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `(.+?)` \|", part, re.MULTILINE))


EVERYTHING = {
    "steps": 3,
    "critic_warmup_steps": 1,
    "dual_clip": 3.0,
    "entropy_coef": 0.01,
    "positive_nll_coef": 0.1,
    "kl_loss_coef": 0.1,
    "kl_to_sft": True,
    "importance_correction": "token_truncate",
    "missing_eos_penalty": 0.1,
    "overlong_buffer": 4,
    "overlong_penalty": 0.1,
}


def test_docs_say_what_a_run_reports_and_nothing_else(
    make_model: Make, make_settings: Make, make_reward: Make, tokenizer: Any, tmp_path: Path
) -> None:
    probe = tmp_path / "probe"
    make_model(seed=3).save_pretrained(probe)
    reported = set()
    for changes, probes in (({"steps": 1}, None), (EVERYTHING, {"sft": str(probe)})):
        telemetry = train(
            make_model(),
            tokenizer,
            make_settings(**changes),
            make_reward(),
            seed=0,
            device=torch.device("cpu"),
            on_step=lambda _: None,
            probes=probes,
        )
        reported |= {name for step in telemetry for name in step.metrics}
    generic = {re.sub(r"^rewards/\w+/", "rewards/<name>/", name) for name in reported}
    generic = {re.sub(r"^objective/(kl_to|perplexity)/\w+", r"objective/\1/<name>", name) for name in generic}
    assert generic == documented()
