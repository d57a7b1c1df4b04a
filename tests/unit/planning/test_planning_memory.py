"""The memory formula, by hand and against what a live model keeps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from planning_configs import ASSUMED, CPU, GPU, SHAPE, config, network, ppo_sizes
from transformers import DynamicCache

from bai_sweep.planning._memory import activation_bytes, cache_bytes, memory_of
from bai_sweep.planning._networks import Shape
from bai_sweep.planning._sizes import Placed, Sizes
from tests.tiny import tiny_model

TINY = Shape(layers=2, hidden=32, heads=4, queries=32, keys=32, inner=64, vocabulary=41, positions=256)
SETTINGS = ("rl.batch_size=4", "rl.minibatch_size=2", "rl.max_new_tokens=30", "rl.precision=bf16", "evaluation=none")
ROW = 80  # a prompt of 50 tokens as assumed, and the longest response


def test_training_is_counted_by_hand() -> None:
    memory = memory_of(config(*SETTINGS), ppo_sizes(network(1000), network(900)), GPU, ASSUMED)

    assert memory is not None
    assert memory.phase == "training"
    # two norms of 10 bytes a number of 8; 4 * 8 + 2 * 4 + 4 * 16 numbers of 2 bytes
    layer = 2 * 10 * 8 + 2 * (4 * 8 + 2 * 4 + 4 * 16)
    assert memory.parts == {
        "weights of actor": 4000.0,
        "weights of reference": 4000.0,
        "weights of critic": 3600.0,
        "Adam's states": 2 * (4000.0 + 3600.0),
        "gradients": 7600.0,
        "activations": 2.0 * 3 * 2 * ROW * layer,  # actor and critic, of 3 layers, over 2 rows
        "logits": 12.0 * 2 * 30 * 20,
        "weights cast to bf16": 2000.0 + 1800.0,
    }
    assert memory.total == sum(memory.parts.values())


def test_recomputed_layers_keep_their_inputs_and_one_layer() -> None:
    whole = config(*SETTINGS)
    again = config(*SETTINGS, "rl.gradient_checkpointing=true")
    sizes = ppo_sizes(network(1000), network(900))
    before, after = (memory_of(c, sizes, GPU, ASSUMED) for c in (whole, again))

    assert before is not None
    assert after is not None
    layer = activation_bytes(SHAPE, 2)
    assert before.parts["activations"] == 2 * 2 * ROW * 3 * layer
    assert after.parts["activations"] == 2 * 2 * ROW * (3 * 8 * 4 + layer)


def test_a_pass_is_bounded_by_micro_batch_tokens_and_holds_a_row_at_least() -> None:
    sizes = ppo_sizes(network(1000), network(900))
    kept = {}
    for limit in ("null", "100", "7"):
        memory = memory_of(config(*SETTINGS, f"rl.micro_batch_tokens={limit}"), sizes, GPU, ASSUMED)
        assert memory is not None
        kept[limit] = memory.parts["activations"]
    assert kept["100"] / kept["null"] == pytest.approx(100 / 160)
    assert kept["7"] / kept["null"] == pytest.approx(80 / 160)


def test_short_rows_on_a_cpu_keep_the_table_of_attention() -> None:
    assert activation_bytes(SHAPE, 4, 100) - activation_bytes(SHAPE, 4) == 2 * 100 * 4
    assert activation_bytes(SHAPE, 2, 100) - activation_bytes(SHAPE, 2) == 2 * 100 * (4 + 2)


def test_sharing_divides_what_it_says() -> None:
    sizes = ppo_sizes(network(1000), network(900))

    def parts(*overrides: str) -> dict[str, float]:
        memory = memory_of(config(*SETTINGS, "rl.num_processes=2", *overrides), sizes, GPU, ASSUMED)
        assert memory is not None
        return dict(memory.parts)

    copies, fsdp2, zero2 = parts(), parts("rl.accelerate_config=fsdp2"), parts("rl.accelerate_config=zero2")
    assert copies["gradients"] == 7600.0
    assert fsdp2["gradients"] == zero2["gradients"] == 3800.0
    assert fsdp2["Adam's states"] == zero2["Adam's states"] == 7600.0
    assert fsdp2["weights of actor"] == 2000.0 + 4000.0  # its part, and the whole one that it samples from
    assert fsdp2["weights of critic"] == 1800.0
    assert zero2["weights of actor"] == 4000.0
    assert zero2["DeepSpeed's copy"] == 3800.0
    assert copies["activations"] == activation_bytes(SHAPE, 2) * 2 * 3 * ROW  # one of the two rows


def test_a_frozen_copy_takes_no_memory_twice() -> None:
    actor, critic = network(1000), network(900)
    shared = Sizes(
        (
            Placed("actor", actor, 4, trained=50, trained_tensors=4),
            Placed("reference", actor, 4, own=False),
            Placed("critic", critic, 4, trained=60, trained_tensors=4, own=False),
        ),
        {},
    )
    memory = memory_of(config(*SETTINGS), shared, GPU, ASSUMED)
    assert memory is not None
    assert {
        name: size for name, size in memory.parts.items() if name.startswith(("weights of", "ad", "Ad", "gr"))
    } == {
        "weights of actor": 4000.0,
        "adapters": 4.0 * (50 + 60),
        "Adam's states": 2 * 4.0 * (50 + 60),
        "gradients": 4.0 * (50 + 60),
    }


def test_of_many_rows_and_a_small_minibatch_the_rollout_is_fullest() -> None:
    many = config(*SETTINGS, "rl.batch_size=400", "rl.minibatch_size=1")
    memory = memory_of(many, ppo_sizes(network(1000), network(900)), GPU, ASSUMED)
    assert memory is not None
    assert memory.phase == "rollout"
    assert memory.parts["cache of keys and values"] == 400 * ROW * 2 * 3 * 4 * 2
    narrow = memory_of(many, ppo_sizes(network(1000), network(900)), CPU, ASSUMED)
    assert narrow is not None
    assert narrow.parts["cache of keys and values"] == 400 * ROW * 2 * 3 * 4 * 4


def test_a_trial_without_rl_is_fullest_when_it_is_evaluated() -> None:
    sizes = Sizes((Placed("actor", network(1000), 4),), {})
    trial = config("rl=none", "evaluation.batch_tokens=100")
    memory = memory_of(trial, sizes, CPU, replace(ASSUMED, libraries=7.0))
    assert memory is not None
    assert memory.parts == {
        "weights of actor": 4000.0,
        "cache of keys and values": 100 * 2 * 3 * 4 * 4,
        "libraries": 7.0,
    }


@pytest.mark.parametrize("sizes", [Sizes((), {"actor": "absent"}), ppo_sizes(network(shape=None), network(900))])
def test_of_an_unknown_network_nothing_is_said(sizes: Sizes) -> None:
    assert memory_of(config(), sizes, CPU, ASSUMED) is None


def test_a_cache_has_the_bytes_of_a_live_one() -> None:
    model = tiny_model()
    cache = DynamicCache(config=model.config)
    model(torch.ones(3, 10, dtype=torch.long), past_key_values=cache)
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)  # type: ignore[attr-defined]
    assert held == 3 * 10 * cache_bytes(TINY, 4)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_a_layer_keeps_about_what_a_live_one_does(attention: str) -> None:
    """Measured by autograd's own hooks; a kernel may keep a copy more or less."""
    model = tiny_model()
    model.config._attn_implementation = attention
    weights = {p.data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        kept_alive.append(tensor)
        return tensor

    kept_alive: list[torch.Tensor] = []
    rows, length = 4, 64
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.model(input_ids=torch.ones(rows, length, dtype=torch.long), use_cache=False)

    expected = rows * length * TINY.layers * activation_bytes(TINY, 4, length if attention == "eager" else 0)
    assert sum(kept.values()) == pytest.approx(expected, rel=0.2)
