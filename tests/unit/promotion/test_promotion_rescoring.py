"""The command that scores a promoted model as its trial was scored."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from bai_sweep.evaluation.command import settings_of
from bai_sweep.promotion._rescoring import rescoring
from bai_sweep.promotion._setup import Setup
from tests.unit.promotion.promotion_helpers import configured

SETTINGS = [
    (),
    ("evaluation=none",),
    ("evaluation=paper", "judge=openai", 'judge.model="it\'s a model"', "evaluation.data_dir='/my data/{x}'"),
    ("evaluation=quick", "evaluation.subset=7", "evaluation.allow_missing=true"),
    ("~evaluation.benchmarks.arena", "evaluation.benchmarks.knowledge.limit=3", "evaluation.seed=4"),
    ("evaluation.name=mine", "evaluation.think_end='</think>'", "evaluation.benchmarks.arena.metric='a,b'"),
    ("+evaluation.benchmarks.arithmetic.repeats=4", "+evaluation.benchmarks.arithmetic.temperature=0.6"),
    ("judge=openai", "judge.max_cost=1e-05", "judge.prompt_price=0.1", "judge.completion_price=0.5"),
    ("judge=openai", "+judge.extra_body={top_k: 3, stop: [a, 'b c']}"),
]


@pytest.mark.parametrize("overrides", SETTINGS)
def test_the_command_composes_the_trials_settings(overrides: tuple[str, ...], tmp_path: Path) -> None:
    config = configured(*overrides)
    setup = Setup(config.model, config.actor, "none", config.evaluation, config.judge)

    found = rescoring(tmp_path, setup)

    words = shlex.split(found.command)
    assert words[:5] == ["python", "-m", "bai_sweep.evaluation", "run", f"model={tmp_path}"]
    (tmp_path / "config.json").write_text("{}")
    composed = settings_of(words[4:])
    assert (composed.evaluation, composed.judge, composed.dtype) == (config.evaluation, config.judge, "float32")
    assert found.doubt == ""


def test_a_secret_is_not_written_and_that_is_said(tmp_path: Path) -> None:
    config = configured("judge=openai", "+judge.extra_body={password: hunter2}")
    setup = Setup(config.model, config.actor, "none", config.evaluation, config.judge)

    found = rescoring(tmp_path, setup)

    assert "hunter2" not in found.command
    assert found.doubt == "a secret is left out of it"
