"""What a trial does around its stages; the whole of it is run in tests/e2e."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from bai_sweep.config import TrialConfig, parse
from bai_sweep.devices import device_of
from bai_sweep.records import UserError
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
    assert trial_name({"alpha": 0.5, "seed": 1}, config()) == "alpha=0.5,seed=1"
    assert trial_name({}, config("alpha=0.25")) == "alpha=0.25"
    assert trial_name({}, config("actor=paradigm3")) == "paradigm3"
