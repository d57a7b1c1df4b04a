"""Where training leaves the finite numbers, the step is named and its batch is kept, readable without this package."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bai_sweep.ppo import DivergenceError, PPOConfig, PPOTrainer
from tests.tiny import tiny_model, tiny_tokenizer

SMALL = {
    "steps": 3,
    "batch_size": 4,
    "minibatch_size": 2,
    "max_new_tokens": 6,
    "precision": "fp32",
    "critic": None,
    "critic_warmup_steps": 0,
    "checkpoint_steps": 1,
}


def trainer(reward: Callable[..., Any], folder: Path | None, **changes: Any) -> PPOTrainer:
    rows = [{"prompt": f"a b {letter}", "answer": number} for number, letter in enumerate("cdefgh")]
    return PPOTrainer(
        tiny_model(seed=1, initializer_range=0.1),
        reward,
        PPOConfig(folder, seed=3, device="cpu", **(SMALL | changes)),
        rows,
        tiny_tokenizer(),
    )


class NaNAtStep:
    """Pays each completion its length; NaN for the third one at a step."""

    __name__ = "length"

    def __init__(self, step: int) -> None:
        self.step, self.calls = step, 0

    def __call__(self, completion_ids: list[list[int]], **_: Any) -> list[float]:
        self.calls += 1
        rewards = [float(len(ids)) for ids in completion_ids]
        if self.calls == self.step:
            rewards[2] = math.nan
        return rewards


def lengths(completion_ids: list[list[int]], **_: Any) -> list[float]:
    return [float(len(ids)) for ids in completion_ids]


def weights(run: PPOTrainer) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in run.model.parameters()]


def test_a_reward_that_is_not_a_number_names_the_step_and_keeps_the_batch(tmp_path: Path) -> None:
    run = trainer(NaNAtStep(2), tmp_path)
    place = tmp_path / "divergence-step-2"

    steps = run.steps()
    next(steps)
    before = weights(run)
    with pytest.raises(
        DivergenceError, match=rf"step 2, completion 2: nan.*; the batch is in {re.escape(str(place))}"
    ):
        next(steps)

    rows = [json.loads(line, parse_constant=pytest.fail) for line in (place / "batch.jsonl").read_text().splitlines()]
    assert [row["rewards"]["length"] for row in rows] == [
        "nan" if i == 2 else float(len(row["completion_ids"])) for i, row in enumerate(rows)
    ]
    assert all(row["prompt"].startswith("a b ") and 0 <= row["columns"]["answer"] < 6 for row in rows)
    tokens = load_file(place / "batch.safetensors")["input_ids"]
    for row, ids in zip(rows, tokens.tolist(), strict=True):
        said = row["prompt_ids"] + row["completion_ids"]
        assert ids[: len(said)] == said
        assert tiny_tokenizer().decode(row["prompt_ids"]) == row["prompt"]
        words = tiny_tokenizer().decode([i for i in row["completion_ids"] if i != tiny_tokenizer().eos_token_id])
        assert row["completion"] == words
        assert row["ended"] is (row["completion_ids"][-1] == tiny_tokenizer().eos_token_id)
    assert "step 2" in (place / "reason.txt").read_text()
    assert all(torch.equal(a, b) for a, b in zip(before, weights(run), strict=True))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]


def test_a_loss_that_is_not_finite_keeps_all_that_was_learned_from(tmp_path: Path) -> None:
    run = trainer(lengths, tmp_path, actor_learning_rate=1e30)

    with pytest.raises(DivergenceError, match=r"at step 1: .*; the batch is in .*divergence-step-1") as caught:
        run.train()

    place = tmp_path / "divergence-step-1"
    tensors = load_file(place / "batch.safetensors")
    assert tensors.keys() >= {"logprobs", "reference", "values", "advantages", "returns", "scores", "mask", "learned"}
    rows = [json.loads(line) for line in (place / "batch.jsonl").read_text().splitlines()]
    assert tensors["scores"].tolist() == [row["rewards"]["lengths"] for row in rows]
    assert tensors["mask"].sum(dim=1).tolist() == [len(row["completion_ids"]) for row in rows]
    assert all(tensor.isfinite().all() for tensor in tensors.values()), "they were measured before the first update"
    assert all(parameter.isfinite().all() for parameter in weights(run)), "a step was taken that is not finite"
    assert str(caught.value).startswith((place / "reason.txt").read_text().strip())


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(DivergenceError, match=r"None where a completion has none$"):
        trainer(NaNAtStep(1), None).train()

    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_cannot_be_written_does_not_hide_the_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "divergence-step-1").write_text("in the way")

    with caplog.at_level(logging.ERROR), pytest.raises(DivergenceError, match="completion 2: nan; return None"):
        trainer(NaNAtStep(1), tmp_path).train()

    assert "the batch of step 1 could not be kept" in caplog.text
