"""The plan as a whole: totals by hand, sources, what it does not know, and how it is shown."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from planning_configs import CPU, config
from rich.console import Console
from test_planning_calibration import measured

from bai_sweep.planning import Assumptions, Ending, StudyPlan, describe, render
from bai_sweep.planning import _plan as planning
from bai_sweep.planning._estimate import estimate
from bai_sweep.planning._figures import Figure
from bai_sweep.planning._items import count_items
from bai_sweep.planning._units import count, rate, size, time
from tests.synthetic import series

SHORT = ("device=cpu", "evaluation=none")


def _shown(plan: StudyPlan, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO())
    with console.capture() as shown:
        console.print(render(plan))
    return shown.get()


def test_totals_are_of_every_trial_of_a_grid() -> None:
    grid = [config(*SHORT, f"rl.steps={steps}") for steps in (10, 20, 60)]
    plan = describe(grid, points=3, seeds=2, workers=1)
    assert (plan.trials, plan.steps.value) == (6, 2 * 90)
    assert plan.tokens.value == 2 * 90 * 32 * 200
    assert plan.steps.source == "rl.steps of each trial"


def test_of_an_interval_its_ends_stand_for_all() -> None:
    ends = [config(*SHORT, f"rl.steps={steps}") for steps in (10, 30)]
    plan = describe(ends, points=10, seeds=1, workers=1)
    assert plan.steps.value == 5 * 10 + 5 * 30
    assert "2 of 10 points were looked at" in plan.steps.source


def test_of_more_points_than_the_study_tries_those_that_are_spread_out_stand_for_all() -> None:
    grid = [config(*SHORT, f"rl.steps={steps}") for steps in (10, 20, 60, 80)]
    assert describe(grid, points=2, seeds=1, workers=1).steps.value == 10 + 60


def test_the_time_of_all_is_the_time_of_the_worker_that_is_done_last() -> None:
    grid = [config(*SHORT, f"rl.steps={steps}", "rl.checkpoint_steps=0") for steps in (10, 20, 60, 10)]
    alone, beside = (describe(grid, points=4, seeds=1, workers=w, measured=measured()) for w in (1, 2))
    trial = [0.5 + 7.0 + steps * 3.0 for steps in (10, 20, 60, 10)]
    assert alone.duration.value == pytest.approx(sum(trial))
    # the first worker takes trials 0 and 2, the second 1 and 3
    assert beside.duration.value == pytest.approx(max(trial[0] + trial[2], trial[1] + trial[3]))
    assert beside.seconds["PPO"].value == pytest.approx(7.0 + 25 * 3.0)
    assert alone.gpu_hours.value == 0.0


def test_gpu_hours_are_of_all_gpus_of_a_trial() -> None:
    trial = config("device=cuda", "evaluation=none", "rl.num_processes=2", "rl.checkpoint_steps=0", "rl.steps=40")
    plan = describe([trial], points=3, seeds=1, workers=3, measured=measured(config=trial))
    assert plan.gpu_hours.value == pytest.approx(3 * 2 * (0.5 + 7.0 + 40 * 3.0) / 3600)
    assert "2 GPUs each" in plan.gpu_hours.source


def test_another_points_step_counts_by_its_work() -> None:
    base = config(*SHORT, "rl.checkpoint_steps=0")
    twice = config(*SHORT, "rl.checkpoint_steps=0", "rl.batch_size=64")
    one, other = (estimate(c, CPU, measured(config=base), Assumptions()) for c in (base, twice))
    assert one.seconds["PPO"].value == pytest.approx(7.0 + 50 * 3.0)
    assert other.seconds["PPO"].value == pytest.approx(7.0 + 50 * 6.0)


def test_each_number_says_where_it_comes_from() -> None:
    trial = config("device=cpu", "evaluation=testbed")
    guessed = describe([trial], points=1, seeds=1, workers=1)
    known = describe([trial], points=1, seeds=1, workers=1, measured=measured(config=trial))

    assert guessed.seconds["PPO"].source.startswith("from the model's size: 2")
    assert "FLOP/s of this CPU used to 30%" in guessed.seconds["PPO"].source
    assert guessed.checkpoint.source.startswith("from the model's size")
    assert guessed.measured_memory is None
    assert known.seconds["merge"] == Figure(0.5, "measured here")
    assert known.seconds["PPO"].source == "measured by 2 steps here: 3 s a step, responses of 60 tokens"
    assert known.seconds["evaluation"].source.startswith("measured by 16 items here (arena); from the model's size")
    assert known.checkpoint == Figure(1000.0, "measured here")
    assert known.disk.value == 2 * 1000 + known.kept.value  # type: ignore[operator]
    assert known.kept.value == 60 * 9 + (300 + 160) * 4096
    assert known.measured_memory is not None
    assert known.measured_memory.value == 1e9
    assert any("a step takes longer as responses grow" in note for note in known.notes)
    assert any("knowledge was not measured: absent" in note for note in known.notes)


def test_models_that_are_not_here_leave_the_numbers_out() -> None:
    hub = "{instruct: nobody/a, distilled: nobody/b}"
    trial = config(*SHORT, "model.base=nobody/base", f"model.sft={hub}")
    plan = describe([trial], points=2, seeds=1, workers=1)

    assert plan.steps.value == 100
    unknown = (plan.seconds["merge"], plan.seconds["PPO"], plan.duration, plan.memory, plan.checkpoint, plan.disk)
    assert {figure.value for figure in unknown} == {None}
    assert all("is on this machine" in figure.source for figure in unknown)
    assert "unknown" in _shown(plan)


def test_a_critic_that_is_not_here_leaves_the_evaluation_known() -> None:
    trial = config("device=cpu", "rl.critic=nobody/critic")
    plan = describe([trial], points=1, seeds=1, workers=1)
    assert plan.seconds["PPO"].value is None
    assert plan.seconds["evaluation"].value is not None
    assert plan.duration.value is None
    assert "nobody/critic" in plan.duration.source


def test_a_trial_without_rl_has_no_steps() -> None:
    plan = describe([config("rl=none", *SHORT)], points=1, seeds=1, workers=1)
    assert (plan.steps.value, plan.tokens.value, plan.seconds["PPO"].value) == (0, 0, 0.0)
    assert plan.savings.rows == ()


def test_items_are_counted_as_the_settings_take_them() -> None:
    whole = count_items(config())
    assert {name: (one.items, one.generates) for name, one in whole.items()} == {
        "knowledge": (300, False),
        "arithmetic": (160, True),
        "arena": (60, True),
    }
    assert count_items(config("evaluation.subset=50"))["knowledge"].items == 50
    assert count_items(config("evaluation.benchmarks.knowledge.limit=7"))["knowledge"].items == 7


def test_of_data_that_is_not_here_the_official_count_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = "evaluation.data_dir=/not/there"
    items = count_items(config("evaluation=paper", absent))
    assert {name: one.items for name, one in items.items()} == {
        "mmlu_pro": 12032,
        "mmlu": 14042,
        "supergpqa": 26529,
        "livebench": 1000,
        "mixeval_hard": 1000,
        "arenahard": 500,
        "aime_2024": 30,
        "math": 5000,
        "mbpp_plus": 378,
    }
    assert items["aime_2024"].requests == 480
    assert items["mmlu"].source == "official count"
    assert "/not/there" in items["mmlu"].fault
    quick = count_items(config("evaluation=quick", absent))
    assert (quick["mmlu"].items, quick["aime_2024"].items) == (100, 30)


def test_a_benchmark_that_cannot_be_had_is_unknown() -> None:
    items = count_items(config("+evaluation.unavailable={lost: nobody has it}"))
    assert (items["lost"].items, items["lost"].fault) == (None, "nobody has it")
    plan = describe(
        [config("device=cpu", "+evaluation.unavailable={lost: nobody has it}")], points=1, seeds=1, workers=1
    )
    assert plan.seconds["evaluation"].source.endswith("without lost")
    assert plan.notes[0] == "cannot run here: lost (nobody has it)"


def test_a_plan_needs_a_point() -> None:
    with pytest.raises(ValueError, match="one point or more"):
        describe([], points=1, seeds=1, workers=1)


def test_the_plan_is_legible_in_80_columns() -> None:
    telemetry = [series(20, collapse=k == 0, seed=k) for k in range(4)]
    trial = config("device=cpu", "rl.steps=20")
    plan = describe(
        [trial],
        points=3,
        seeds=2,
        workers=2,
        measured=measured(config=trial),
        telemetry=telemetry,
        ending=Ending(collapse=["kl_blow_up"]),
    )
    shown = _shown(plan)
    assert max(map(len, shown.splitlines())) <= 80
    for line in (
        "6 trials: 3 points x 2 seeds, 2 at a time",
        "PPO steps",
        "768,000",
        "memory at most",
        "  Adam's states",
        "a checkpoint",
        "collapse (kl_blow_up) *",
        "- a step takes longer as responses grow",
    ):
        assert line in shown
    alone = _shown(replace(plan, notes=(), savings=replace(plan.savings, rows=(), note="nothing to replay")))
    assert "pruning: nothing to replay" in alone
    assert "best trial ended" not in alone


def test_numbers_are_written_as_people_read_them() -> None:
    assert [size(n) for n in (950, 20.1e6, 1.5e12)] == ["950 B", "20.1 MB", "1.5 TB"]
    assert rate(312e12) == "312 T"
    assert [time(s) for s in (0.114, 59, 240, 7500, 2.8e5)] == ["0.11 s", "59 s", "4 min", "2 h 05 min", "3.2 days"]
    assert count(9600) == "9,600"


def test_the_stages_are_those_of_a_trial() -> None:
    assert planning.STAGES == ("merge", "PPO", "evaluation")
