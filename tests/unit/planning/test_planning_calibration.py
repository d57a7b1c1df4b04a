"""A calibration on the testbed, and what follows from its numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
from planning_configs import config

from bai_sweep.planning import Calibration, CalibrationError, MeasuredBenchmark, calibrate
from bai_sweep.planning import _calibrate as calibrating
from bai_sweep.planning._calibrate import _threads
from bai_sweep.planning._job import ERROR
from bai_sweep.planning._measure import main
from bai_sweep.planning._measured_items import measurable
from bai_sweep.planning._measured_steps import shortened
from bai_sweep.records import UserError

QUICK = (
    *("device=cpu", "rl.batch_size=4", "rl.minibatch_size=4", "rl.max_new_tokens=12", "rl.steps=40"),
    *("rl.critic_warmup_steps=10", "rl.lr_warmup_steps=5", "~evaluation.benchmarks.arena"),
    *("~evaluation.benchmarks.knowledge", "evaluation.max_new_tokens=12"),
)
FITTED = MeasuredBenchmark(load_seconds=2.0, fewer=(4, 3.0), more=(16, 6.0), tokens_per_item=50.0, bytes_per_item=9.0)


def measured(**changes: object) -> Calibration:
    """A calibration as if it had been made."""
    settings = {
        "config": config("rl.steps=40", "rl.checkpoint_steps=15"),
        "device": "cpu",
        "threads": 1,
        "steps": 2,
        "merge_seconds": 0.5,
        "step_seconds": 3.0,
        "mean_length": 60.0,
        "set_up_seconds": 7.0,
        "checkpoint_seconds": 2.0,
        "checkpoint_bytes": 1000,
        "peak_bytes": 1e9,
        "benchmarks": {"arena": FITTED},
        "missing": {"knowledge": "absent"},
    }
    return Calibration(**(settings | changes))  # type: ignore[arg-type]


def test_two_runs_tell_what_an_item_takes_beside_what_a_batch_does() -> None:
    assert FITTED.seconds_per_item == 0.25
    # 5 batches of at most 400 tokens, each 2 seconds besides its items
    assert FITTED.seconds(40, 400) == 2.0 + 40 * 0.25 + 5 * 2.0
    assert FITTED.seconds(40, 10_000) == 2.0 + 40 * 0.25 + 2.0


def test_of_equally_many_items_and_of_noise_no_time_is_negative() -> None:
    same = MeasuredBenchmark(0.0, (57, 5.0), (57, 5.7), 1.0, 1.0)
    assert same.seconds_per_item == pytest.approx(0.1)
    assert same.seconds(570, 10**9) == pytest.approx(57.0)
    noisy = MeasuredBenchmark(0.0, (4, 5.0), (16, 4.0), 1.0, 1.0)
    assert (noisy.seconds_per_item, noisy.seconds(100, 10**9)) == (0.0, 4.0)


def test_ppo_is_its_steps_its_setting_up_and_its_checkpoints() -> None:
    trial = config("rl.steps=40", "rl.checkpoint_steps=15")
    assert measured().ppo_seconds(trial) == 7.0 + 40 * 3.0 + 3 * 2.0  # after steps 15, 30 and 40
    assert measured().ppo_seconds(trial, scale=2.0) == 7.0 + 40 * 6.0 + 3 * 2.0
    assert measured().ppo_seconds(config("rl.steps=40", "rl.checkpoint_steps=0")) == 7.0 + 40 * 3.0
    assert measured().ppo_seconds(config("rl=none")) == 0.0
    assert measured(step_seconds=None).ppo_seconds(trial) is None


def test_a_calibration_survives_its_file(tmp_path: Path) -> None:
    measured().write(tmp_path / "it.json")
    assert Calibration.read(tmp_path / "it.json") == measured()


def test_a_step_is_measured_with_all_of_its_training() -> None:
    short = shortened(config(*QUICK).rl, 3)  # type: ignore[arg-type]
    assert (short.steps, short.lr_warmup_steps, short.checkpoint_steps) == (3, 0, 3)
    assert short.critic_warmup_steps == 0  # type: ignore[union-attr]
    assert shortened(config(*QUICK, "rl.steps=20", "rl.checkpoint_steps=0").rl, 30).steps == 20  # type: ignore[arg-type]


def test_a_judge_that_costs_money_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    arena = "+evaluation.benchmarks.arena.needs=[judge]"
    settings, missing = measurable(config("judge=openai", arena), tmp_path)
    assert list(settings.benchmarks) == ["knowledge", "arithmetic"]
    assert missing == {"arena": "a plan does not ask judge=openai, which may cost money"}
    settings, missing = measurable(config(arena), tmp_path)
    assert missing["arena"].startswith("evaluation=testbed: 1 of 1 benchmarks cannot run")
    assert list(settings.benchmarks) == ["knowledge", "arithmetic"]


def test_threads_are_those_of_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert _threads(config("threads=3", "workers=2")) == 3
    assert _threads(config("threads=null", "workers=2")) == 4
    assert _threads(config("threads=null", "workers=20")) == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert _threads(config("threads=null", "workers=2")) == 2


def test_a_few_steps_and_items_are_really_run_and_nothing_stays(tmp_path: Path) -> None:
    trial = config(*QUICK, f"results_dir={tmp_path / 'results'}")
    found = calibrate(trial, tmp_path, steps=2, items=(2, 4))

    assert found.config == trial
    assert (found.device, found.threads, found.steps) == ("cpu", 1, 1)
    assert found.step_seconds is not None
    assert found.step_seconds > 0.0
    assert found.merge_seconds > 0.0
    assert found.mean_length is not None
    assert 1.0 <= found.mean_length <= 12.0
    assert found.checkpoint_bytes == pytest.approx(20.1e6, rel=0.02)
    assert found.checkpoint_seconds is not None
    assert 2e8 < found.peak_bytes < 2e9
    assert {name: one.more[0] for name, one in found.benchmarks.items()} == {"arithmetic": 4}
    assert found.benchmarks["arithmetic"].tokens_per_item > 12.0
    assert found.missing == {}
    assert list(tmp_path.iterdir()) == []


def test_bad_input_is_told_as_of_a_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = config(*QUICK, "reward.functions.correct.function=nope.module:reward")

    def measured_here(place: Path, threads: int) -> None:
        assert main(place) == 1
        raise UserError((place / ERROR).read_text())

    monkeypatch.setattr(calibrating, "_run", measured_here)
    with pytest.raises(UserError, match=r"nope\.module:reward"):
        calibrate(bad, tmp_path, steps=2)
    assert list(tmp_path.iterdir()) == []


def test_what_the_process_says_of_the_input_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _instead(monkeypatch, "import sys, pathlib; pathlib.Path(sys.argv[1], 'error.txt').write_text('bad'); sys.exit(1)")
    with pytest.raises(UserError, match=r"^bad$"):
        calibrate(config(*QUICK), tmp_path)


def _instead(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Has another program run in place of the measurement."""
    started = calibrating.subprocess.Popen

    def start(command: list[str], **settings: object) -> object:
        return started([command[0], "-c", code, command[-1]], **settings)  # type: ignore[call-overload]

    monkeypatch.setattr(calibrating.subprocess, "Popen", start)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", r"was ended by SIGKILL \(out of memory\?\)"),
        (
            "import sys; print('what went wrong'); sys.exit(4)",
            r"failed with status 4; the end of its log:\nwhat went wrong",
        ),
    ],
)
def test_a_process_that_dies_is_told_with_its_log(
    code: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _instead(monkeypatch, code)
    with pytest.raises(CalibrationError, match=message):
        calibrate(config(*QUICK), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_one_step_cannot_be_timed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 steps or more"):
        calibrate(config(*QUICK), tmp_path, steps=1)
    with pytest.raises(ValueError, match="rising order"):
        calibrate(config(*QUICK), tmp_path, items=(9, 3))
