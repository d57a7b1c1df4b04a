"""`rl.num_processes=2`: the stage starts processes, hears of every step, and leaves none behind, however it ends."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from bai_sweep.config import PPOSettings, RewardConfig
from bai_sweep.ppo import PPOConfig, train
from bai_sweep.ppo._telemetry import reproducible
from bai_sweep.ppo.processes import ProcessError
from bai_sweep.records import StepTelemetry, UserError
from bai_sweep.signals import StopRequested
from tests.integration.ppo import group
from tests.tiny import tiny_model, tiny_tokenizer

CPU = torch.device("cpu")
Launch = Callable[..., tuple[torch.nn.Module, tuple[StepTelemetry, ...]]]


@pytest.fixture
def pids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the id of every process that came to its reward function, under its rank."""
    (tmp_path / "pids").mkdir()
    monkeypatch.setenv("BAI_TEST_PIDS", str(tmp_path / "pids"))
    return tmp_path / "pids"


def settings(**changes: Any) -> PPOSettings:
    config = PPOConfig(**(group.SETTINGS | changes))
    return PPOSettings(**{name: getattr(config, name) for name in PPOSettings.model_fields})


def reward(folder: Path, name: str) -> RewardConfig:
    prompts = folder / "prompts.jsonl"
    prompts.write_text("\n".join(map(json.dumps, group.PROMPTS)))
    where = {"source": str(prompts), "split": "train", "column": "prompt", "count": None}
    function = {"function": f"tests.integration.ppo.ranked_rewards:{name}", "weight": 1.0}
    return RewardConfig.model_validate({"name": "test", "prompts": where, "functions": {"it": function}})


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    def run(
        count: int,
        name: str,
        on_step: Callable[[StepTelemetry], None] = lambda _: None,
        folder: Path | None = None,
        **changes: Any,
    ) -> Any:
        model = tiny_model(initializer_range=0.2)
        telemetry = train(
            model,
            tiny_tokenizer(),
            settings(num_processes=count, **changes),
            reward(tmp_path, name),
            seed=3,
            device=CPU,
            on_step=on_step,
            folder=folder,
        )
        return model, telemetry

    return run


def ends(pids: Path, count: int = 2, seconds: float = 10.0) -> bool:
    """Whether the processes that left their ids are gone, or go soon."""
    known = [int(path.read_text()) for path in pids.iterdir()]
    assert len(known) == count
    deadline = time.monotonic() + seconds
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in known):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


@pytest.mark.slow  # as all here: two processes import torch and transformers
def test_the_trained_weights_come_back_and_every_step_is_heard_of(
    launch: Launch, pids: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[tuple[StepTelemetry, bool]] = []

    def on_step(record: StepTelemetry) -> None:
        heard.append((record, psutil.pid_exists(int((pids / "0").read_text()))))

    with caplog.at_level(logging.INFO):
        model, telemetry = launch(2, "early_words", on_step)
    assert [record for record, _ in heard] == list(telemetry)
    assert heard[0][1], "nothing was heard while the processes ran"
    assert [r.getMessage() for r in caplog.records if r.name == "bai_sweep.of_a_test"] == ["judging 4"] * 2
    alone, expected = launch(1, "early_words")
    for ours, theirs in zip(telemetry, expected, strict=True):
        assert ours.step == theirs.step
        same = {k: v for k, v in reproducible(theirs.metrics).items() if not k.startswith("sampling/")}
        assert {k: ours.metrics[k] for k in same} == pytest.approx(same, rel=1e-5, abs=1e-6)
    torch.testing.assert_close(model.state_dict(), alone.state_dict(), rtol=0, atol=1e-5)
    assert not model.training


@pytest.mark.slow
def test_bad_input_comes_back_as_bad_input(launch: Launch, pids: Path) -> None:
    with pytest.raises(UserError, match="the judge is not there; start it"):
        launch(2, "refused_by_the_second")
    assert ends(pids, seconds=0)


@pytest.mark.slow
def test_a_killed_process_ends_the_run(launch: Launch, pids: Path) -> None:
    start = time.monotonic()
    with pytest.raises(ProcessError, match=r"process 1 of 2 was ended by SIGKILL \(out of memory\?\)"):
        launch(2, "fatal_to_the_second")
    assert ends(pids, seconds=0)
    assert time.monotonic() - start < 120


@pytest.mark.slow
def test_who_listens_may_end_the_run(launch: Launch, pids: Path, tmp_path: Path) -> None:
    def pruned(record: StepTelemetry) -> None:
        raise RuntimeError(f"pruned at step {record.step}")

    with pytest.raises(RuntimeError, match="pruned at step 1"):
        launch(2, "early_words", pruned, tmp_path / "run", steps=1000, checkpoint_steps=1000)
    assert ends(pids, seconds=0)
    assert not (tmp_path / "run").exists(), "only who asks to stop gets a checkpoint"


def stop_at(step: int) -> Callable[[StepTelemetry], None]:
    def on_step(record: StepTelemetry) -> None:
        assert record.step <= step, "a step was trained after the one to stop at"
        if record.step == step:
            raise StopRequested(f"at step {step}")

    return on_step


@pytest.mark.slow
@pytest.mark.parametrize("sharding", [None, "fsdp2"])
def test_a_stop_keeps_the_step_of_all_processes(
    launch: Launch, pids: Path, tmp_path: Path, sharding: str | None
) -> None:
    changes = {"steps": 4, "checkpoint_steps": 10, "lr_schedule": "cosine", "kl_target": 0.01}
    changes["accelerate_config"] = sharding
    kept = tmp_path / "part" / "checkpoints" / "step-00000002"
    with pytest.raises(StopRequested, match="at step 2"):
        launch(2, "early_words", stop_at(2), tmp_path / "part", **changes)
    assert ends(pids, seconds=0)
    assert list(kept.parent.iterdir()) == [kept]
    before = kept.stat().st_ino
    with pytest.raises(StopRequested, match="at step 1"):  # which the checkpoint gives back
        launch(2, "early_words", stop_at(1), tmp_path / "part", **changes)
    assert kept.stat().st_ino == before

    resumed, telemetry = launch(2, "early_words", folder=tmp_path / "part", **changes)
    whole, expected = launch(2, "early_words", folder=tmp_path / "whole", **changes)
    assert [reproducible(r.metrics) for r in telemetry] == [reproducible(r.metrics) for r in expected]
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)


@pytest.mark.slow
def test_no_process_outlives_the_one_that_started_it(pids: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.integration.ppo.test_processes_launch import *; "
        "train(tiny_model(), tiny_tokenizer(), settings(num_processes=2), reward(Path(sys.argv[1]), 'without_end'), "
        "seed=3, device=CPU, on_step=print)"
    )
    (tmp_path / "jobs").mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / "jobs")}
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[3], env=environment
    )
    deadline = time.monotonic() + 180
    while len(list(pids.iterdir())) < 2 and time.monotonic() < deadline:
        assert parent.poll() is None
        time.sleep(0.1)
    assert [path.name[:14] for path in (tmp_path / "jobs").glob("bai-*")] == ["bai-sweep-ppo-"]
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert ends(pids)
    assert list((tmp_path / "jobs").glob("bai-*")) == [], "the actor is left behind"


@pytest.mark.slow
def test_a_trainer_under_a_launcher_joins_the_others(tmp_path: Path) -> None:
    """torchrun's; on a CPU, accelerate's own starts one process."""
    (tmp_path / "script.py").write_text(
        "import sys, json; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from tests.integration.ppo import group\n"
        "import os; rank = int(os.environ['RANK'])\n"
        "job = {'settings': {'accelerate_config': None}, 'reward': 'early_words', 'resume': False}\n"
        "result = group.train(Path(sys.argv[2]), rank, **job)\n"
        "(Path(sys.argv[2]) / f'{rank}.json').write_text(json.dumps(result))\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "script.py"]
    sharded = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "ACCELERATE_USE_CPU": "true"}
    subprocess.run(
        [*command, str(Path(__file__).parents[3]), str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, **sharded},
        check=True,
        timeout=300,
    )
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    (alone,) = group.run(1, tmp_path / "alone")
    assert first["held"] + second["held"] == alone["held"]
    for result in (first, second):
        for ours, theirs in zip(result["telemetry"], alone["telemetry"], strict=True):
            same = {k: v for k, v in reproducible(theirs["metrics"]).items() if not k.startswith("sampling/")}
            assert {k: ours["metrics"][k] for k in same} == pytest.approx(same, rel=1e-5, abs=1e-6)
