"""FLOPs and seconds by hand."""

from __future__ import annotations

import pytest
from planning_configs import ASSUMED, CPU, config, network, ppo_sizes

from bai_sweep.planning._assumptions import Assumptions, device_of_trial
from bai_sweep.planning._items import Counted
from bai_sweep.planning._sizes import Placed, Sizes
from bai_sweep.planning._work import evaluation_seconds, row_tokens, step_seconds, step_work

SETTINGS = ("rl.batch_size=4", "rl.minibatch_size=2", "rl.max_new_tokens=30", "rl.ppo_epochs=3")
TOKENS = 4 * 80  # prompts of 50 tokens
ACTOR = network(1000)
CRITIC = network(900, headless=True)  # its embedding of 160 numbers is looked up


def test_a_step_is_two_flops_a_parameter_forward_and_four_more_backward() -> None:
    work = step_work(config(*SETTINGS), ppo_sizes(ACTOR, CRITIC), ASSUMED)

    assert work is not None
    assert work.rollout == 2 * 1000 * TOKENS
    assert work.scoring == 2 * (1000 + 1000 + 740) * TOKENS
    assert work.training == 3 * 6 * (1000 + 740) * TOKENS
    assert work.total == work.rollout + work.scoring + work.training
    assert work.decoding_steps == 30


def test_recomputing_costs_a_forward_pass_and_an_adapter_saves_the_weights_gradient() -> None:
    again = step_work(config(*SETTINGS, "rl.gradient_checkpointing=true"), ppo_sizes(ACTOR, CRITIC), ASSUMED)
    adapters = Sizes((Placed("actor", ACTOR, 4, trained=50), Placed("critic", CRITIC, 4, trained=50)), {})
    adapted = step_work(config(*SETTINGS), adapters, ASSUMED)

    assert again is not None
    assert adapted is not None
    assert again.training == 3 * 8 * (1000 + 740) * TOKENS
    assert adapted.training == 3 * 4 * (1000 + 740) * TOKENS


def test_a_group_trainer_has_iterations_and_no_critic() -> None:
    settings = ("rl=grpo", "rl.batch_size=8", "rl.minibatch_size=4", "rl.max_new_tokens=30", "rl.num_iterations=2")
    sizes = Sizes((Placed("actor", ACTOR, 4, 1000), Placed("reference", ACTOR, 4)), {})
    work = step_work(config(*settings), sizes, ASSUMED)
    assert work is not None
    assert work.training == 2 * 6 * 1000 * 8 * 80


def test_a_row_stays_within_the_positions_and_a_prompt_within_its_limit() -> None:
    trial = config(*SETTINGS, "rl.max_prompt_tokens=20")
    assert row_tokens(trial, ASSUMED) == 50
    assert row_tokens(trial, ASSUMED, positions=40) == 40
    assert row_tokens(config("rl=none"), ASSUMED) == 0


def test_seconds_are_flops_at_the_rate_and_decoding_steps() -> None:
    sizes = ppo_sizes(ACTOR, CRITIC)
    work = step_work(config(*SETTINGS), sizes, ASSUMED)
    assert work is not None
    # 1e9 FLOP/s used to a half; 4,000 bytes of weights at 1e8 a second and 3 layers of a millisecond, 30 times
    expected = work.total / 0.5e9 + 30 * (4000 / 1e8 + 3 * 0.001)
    assert step_seconds(config(*SETTINGS), sizes, CPU, ASSUMED) == pytest.approx(expected, rel=1e-12)


def test_what_is_not_known_has_no_time() -> None:
    unknown = Sizes((Placed("actor", ACTOR, 4, 1000),), {"critic": "absent"})
    assert step_work(config(*SETTINGS), unknown, ASSUMED) is None
    assert step_seconds(config(*SETTINGS), unknown, CPU, ASSUMED) is None
    assert step_work(config("rl=none"), ppo_sizes(ACTOR, CRITIC), ASSUMED) is None


def test_an_evaluation_is_counted_by_its_responses() -> None:
    assumed = Assumptions(question_tokens=60, answer_tokens=500, utilisation=0.5, launch_seconds=0.001)
    trial = config("evaluation.max_new_tokens=40", "evaluation.batch_tokens=1000")
    items = {
        "written": Counted(30, 2, True, "counted"),
        "scored": Counted(30, 1, False, "counted"),
        "nobody knows": Counted(None, 1, True, "absent"),
    }
    seconds = evaluation_seconds(trial, items, Sizes((Placed("actor", ACTOR, 4),), {}), CPU, assumed)

    tokens = 60 * (60 + 40)  # 6 batches
    assert seconds == {
        "written": pytest.approx(2 * 1000 * tokens / 0.5e9 + 6 * 40 * (4000 / 1e8 + 0.003), rel=1e-12),
        "scored": pytest.approx(2 * 1000 * 30 * 60 / 0.5e9, rel=1e-12),
    }


def test_a_gpu_that_is_not_here_is_assumed_and_a_cpu_is_shared() -> None:
    gpu = device_of_trial(config("device=cuda", "rl.num_processes=2"), Assumptions(), workers=2)
    assert (gpu.kind, gpu.name, gpu.flops, gpu.count) == ("cuda", "a GPU like A100", 19.5e12, 2)
    half = device_of_trial(config("device=cuda", "rl.precision=bf16"), Assumptions(), workers=2)
    assert half.flops == 312e12
    told = device_of_trial(config("device=cuda"), Assumptions(flops=5e12, bandwidth=1e11), workers=1)
    assert (told.flops, told.bandwidth) == (5e12, 1e11)

    alone, beside = (device_of_trial(config("device=cpu"), Assumptions(), workers=w) for w in (1, 2))
    assert alone.flops == 2 * beside.flops > 1e8
