"""What a trial does around its stages; the whole of it is run in tests/e2e."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from bai_sweep.config import TrialConfig, parse
from bai_sweep.devices import device_of
from bai_sweep.records import EvalReport, StepTelemetry, TrialResult, UserError
from bai_sweep.signals import StopRequested, TrialPruned
from bai_sweep.sources import packaged_dir
from bai_sweep.trial import check_inputs, run_trial, trial_name
from tests.synthetic import trial


def config(*overrides: str) -> TrialConfig:
    with initialize_config_dir(str(packaged_dir("conf")), version_base="1.3"):
        return parse(compose("config", overrides=["tracking=none", *overrides]))


def test_a_trial_whose_result_stands_is_loaded_and_not_run_again(tmp_path: Path) -> None:
    kept = trial(3, {"alpha": 0.3})
    kept.save(tmp_path)
    (tmp_path / "checkpoints" / "step-00000002").mkdir(parents=True)  # it died before it removed them

    result = run_trial(config(), number=3, params={"alpha": 0.3}, folder=tmp_path)

    assert result == kept
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_a_device_that_is_not_there_is_told() -> None:
    with pytest.raises(UserError, match="device=cuda:99: torch finds"):
        device_of("cuda:99")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("evaluation=paper", "benchmarks cannot run"),
        ("reward.functions.correct.function=nope.module:reward", "nope.module:reward"),
        ("reward.prompts.source=/not/there.jsonl", "/not/there.jsonl"),
    ],
)
def test_an_input_that_is_not_there_is_told_before_any_model(
    override: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=message):
        check_inputs(config(override))


def test_a_trial_is_named_by_what_is_swept_else_by_its_actor() -> None:
    assert trial_name({"alpha": 0.5, "seed": 1}, config()) == "alpha=0.5, seed=1"
    assert trial_name({}, config("alpha=0.25")) == "alpha=0.25"
    assert trial_name({}, config("actor=paradigm3")) == "paradigm3"


TINY = (
    *("rl.steps=3", "rl.batch_size=4", "rl.minibatch_size=4", "rl.max_new_tokens=16"),
    *("rl.checkpoint_steps=10", "evaluation.benchmarks.knowledge.limit=null", "~evaluation.benchmarks.arena"),
    "~evaluation.benchmarks.arithmetic",
)


class Scripted:
    """A monitor that raises at a step, or after the cheap evaluation."""

    def __init__(
        self, at: int | None = None, error: BaseException | None = None, *, after_screen: bool = False
    ) -> None:
        self.at, self.error, self.after_screen = at, error, after_screen
        self.steps: list[int] = []
        self.screens: list[int] = []

    def step(self, telemetry: Sequence[StepTelemetry]) -> None:
        self.steps.append(telemetry[-1].step)
        assert [record.step for record in telemetry] == list(range(1, len(telemetry) + 1))
        if self.error is not None and telemetry[-1].step == self.at:
            raise self.error

    def screened(self, report: EvalReport) -> None:
        self.screens.append(report.scores[0].n)
        if self.after_screen and self.error is not None:
            raise self.error

    def safe_point(self) -> None: ...


def _run(folder: Path, monitor: Scripted, screen: int | None = None) -> TrialResult:
    settings = config(*TINY, f"evaluation.cache_dir={folder}/cache")
    return run_trial(settings, number=0, params={}, folder=folder / "trial", monitor=monitor, screen=screen)


def test_a_pruned_trial_has_a_result_that_says_why_and_is_not_evaluated(tmp_path: Path) -> None:
    result = _run(tmp_path, Scripted(2, TrialPruned("it has collapsed")))

    assert result.pruned == "it has collapsed"
    assert [record.step for record in result.telemetry] == [1, 2]
    assert result.report.scores == ()
    assert TrialResult.load(tmp_path / "trial") == result
    assert not (tmp_path / "trial/checkpoints").exists()
    geometry = json.loads((tmp_path / "trial/geometry.json").read_text(encoding="utf-8"))
    assert geometry["layers"]
    assert len(result.recipe.digest) == 64


def test_a_stopped_trial_goes_on_from_the_step_at_which_it_stopped(tmp_path: Path) -> None:
    whole = _run(tmp_path / "whole", Scripted())
    with pytest.raises(StopRequested):
        _run(tmp_path, Scripted(2, StopRequested()))
    assert not (tmp_path / "trial/result.json").exists()
    again = Scripted()

    result = _run(tmp_path, again)

    assert again.steps == [1, 2, 3]  # two of them out of the checkpoint
    names = ("objective/scores", "objective/kl", "loss/policy_avg", "completions/mean_length")
    seen, uninterrupted = ([[r.metrics[n] for n in names] for r in t.telemetry] for t in (result, whole))
    assert seen == uninterrupted


def test_the_cheap_evaluation_comes_first_and_survivors_get_the_full_one(tmp_path: Path) -> None:
    survivor, loser = Scripted(), Scripted(error=TrialPruned("behind"), after_screen=True)

    whole = _run(tmp_path / "a", survivor, screen=10)
    early = _run(tmp_path / "b", loser, screen=10)

    assert survivor.screens == loser.screens == [10]
    assert whole.report.scores[0].n == 300
    assert early.pruned == "behind"
    assert early.report.scores[0].n == 10
