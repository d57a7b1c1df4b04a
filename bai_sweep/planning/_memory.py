"""The memory that a trial takes at its fullest, by the models' sizes; docs/planning.md has the formulas.

Of one process: with several, each has all of this but for what FSDP2 or ZeRO-2 divides among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bai_sweep.config import GroupSettings, NoRL, PPOSettings, TrialConfig
from bai_sweep.planning._assumptions import Assumptions, Device
from bai_sweep.planning._networks import Shape
from bai_sweep.planning._sizes import Placed, Sizes
from bai_sweep.planning._work import row_tokens

_SHORT = 512
"""Tokens of a row up to which a CPU computes attention without a fused kernel, keeping its table."""

_WIDE = 512
"""Numbers of the residual stream from which a CPU samples in bf16."""

_CHUNK = 2**24
_KEPT = 4 * 2**24
"""Logits that are made at a time, and that are kept for the backward pass rather than made again."""


@dataclass(frozen=True)
class Memory:
    """Bytes of one process at the fullest moment.

    Args:
        phase: When that is: rollout, training or evaluation.
        parts: What takes them, in order.
    """

    phase: str
    parts: Mapping[str, float]

    @property
    def total(self) -> float:
        """All of them."""
        return sum(self.parts.values())


def memory_of(config: TrialConfig, sizes: Sizes, device: Device, assumed: Assumptions) -> Memory | None:
    """The fullest of a trial's phases; None where a network's size is not known."""
    if sizes.actor is None or sizes.actor.shape is None or not sizes.complete:
        return None
    libraries = {"libraries": assumed.libraries} if device.kind == "cpu" else {}
    phases = [Memory("evaluation", {**_evaluation(config, sizes), **libraries})]
    if not isinstance(config.rl, NoRL):
        held = {**_weights(config, sizes), **libraries}
        phases.append(Memory("rollout", {**held, **_rollout(config, sizes, device, assumed)}))
        phases.append(Memory("training", {**held, **_training(config, sizes, device, assumed)}))
    return max(phases, key=lambda memory: memory.total)


def _weights(config: TrialConfig, sizes: Sizes) -> dict[str, float]:
    """Every network's weights, and Adam's two numbers for each that is trained."""
    processes, divided = _processes(config.rl), _divided(config.rl)
    weights: dict[str, float] = {}
    for placed in sizes.networks:
        if not placed.own:
            continue
        size = float(placed.network.parameters * placed.width)
        # reward models are not sharded
        share = size / processes if divided == "fsdp2" and placed.role != "reward" else size
        weights[f"weights of {placed.role}"] = weights.get(f"weights of {placed.role}", 0.0) + share
    weights["weights of actor"] += _whole_actor(sizes) if divided == "fsdp2" else 0.0
    adapters = sum(float(p.trained * p.width) for p in sizes.networks if p.trained and _is_adapter(p))
    trained = _trained(sizes) / (processes if divided else 1)
    copies = trained if divided == "zero2" else 0.0  # DeepSpeed's own, of weights that are fp32 as well
    return {
        **weights,
        **({"adapters": adapters} if adapters else {}),
        **({"DeepSpeed's copy": copies} if copies else {}),
        "Adam's states": 2.0 * trained,
    }


def _rollout(config: TrialConfig, sizes: Sizes, device: Device, assumed: Assumptions) -> dict[str, float]:
    """The cache of keys and values at its longest, and the logits of one token a row."""
    shape, rl = _shape(sizes), config.rl
    if isinstance(rl, NoRL) or (isinstance(rl, PPOSettings) and rl.engine == "vllm"):
        return {}
    rows = rl.batch_size / _processes(rl)
    # a narrow model on a CPU samples in its own dtype
    half = rl.precision == "bf16" and not (device.kind == "cpu" and shape.hidden < _WIDE)
    width = 2 if half else _actor(sizes).width
    tokens = rows * row_tokens(config, assumed, shape.positions)
    return {
        "cache of keys and values": tokens * cache_bytes(shape, width),
        "logits": rows * shape.vocabulary * 12.0,  # fp32: as they come, divided by the temperature, their softmax
    }


def cache_bytes(shape: Shape, width: int) -> float:
    """Bytes of a token in the cache: keys and values of every layer."""
    return 2.0 * shape.layers * shape.keys * width


def _training(config: TrialConfig, sizes: Sizes, device: Device, assumed: Assumptions) -> dict[str, float]:
    """Gradients, and what one pass over rows keeps for its backward pass in each trained network."""
    rl = config.rl
    if isinstance(rl, NoRL):
        return {}
    positions = _shape(sizes).positions
    row = row_tokens(config, assumed, positions)
    minibatch = max(rl.minibatch_size // _processes(rl), 1) * row
    limit = rl.micro_batch_tokens if isinstance(rl, PPOSettings) else None
    tokens = max(min(minibatch, limit or minibatch), row)
    width = 2 if rl.precision == "bf16" else _actor(sizes).width
    eager = device.kind == "cpu" and row <= _SHORT
    kept = cast = 0.0
    for placed in sizes.networks:
        shape = placed.network.shape
        if placed.trained and shape is not None:
            layer = activation_bytes(shape, width, row if eager else 0)
            layers = shape.layers
            # of recomputed layers the input is kept, and one of them is whole at a time
            kept += tokens * (layers * shape.hidden * 4.0 + layer if rl.gradient_checkpointing else layers * layer)
            cast += placed.network.parameters * 2.0 if width < placed.width else 0.0
    gradients = _trained(sizes) / (_processes(rl) if _divided(rl) else 1)
    logits = tokens / row * rl.max_new_tokens * _shape(sizes).vocabulary
    return {
        "gradients": gradients,
        "activations": kept,
        "logits": 12.0 * (logits if logits <= _KEPT else _CHUNK),  # softmax, its gradient, and theirs
        **({"weights cast to bf16": cast} if cast else {}),
    }


def activation_bytes(shape: Shape, width: int, row: int = 0) -> float:
    """Bytes that a layer keeps of a token for its backward pass, with gated feed-forward and two norms in fp32.

    Of each norm its input and its normalised input (fp32) and its output; of attention queries, keys, values and the
    output twice; of the feed-forward part the gate before and after its activation, what it gates, and the product.
    Without a fused kernel also the table of attention: a number in fp32 and one of `width` bytes for each head and
    token of the row.

    Args:
        shape: The network's.
        width: Bytes of a number that is computed.
        row: Tokens of a row where no kernel is fused, 0 where one is.
    """
    norms = 2.0 * (2 * 4 + width) * shape.hidden
    computed = width * (4.0 * shape.queries + 2.0 * shape.keys + 4.0 * shape.inner)
    return norms + computed + shape.heads * row * (4.0 + (width if width < 4 else 0.0))


def _evaluation(config: TrialConfig, sizes: Sizes) -> dict[str, float]:
    """The actor alone, and a batch's cache."""
    actor = _actor(sizes)
    tokens = config.evaluation.batch_tokens if config.evaluation.benchmarks else 0
    return {
        "weights of actor": float(actor.network.parameters * actor.width),
        "cache of keys and values": tokens * cache_bytes(_shape(sizes), actor.width),
    }


def _trained(sizes: Sizes) -> float:
    """Bytes of all that is trained: as many as its gradients have."""
    return float(sum(placed.trained * placed.width for placed in sizes.networks))


def _is_adapter(placed: Placed) -> bool:
    return placed.trained != placed.network.parameters


def _whole_actor(sizes: Sizes) -> float:
    actor = _actor(sizes)
    return float(actor.network.parameters * actor.width)


def _actor(sizes: Sizes) -> Placed:
    return next(placed for placed in sizes.networks if placed.role == "actor")


def _shape(sizes: Sizes) -> Shape:
    shape = _actor(sizes).network.shape
    if shape is None:
        raise ValueError("memory is asked of actors whose shape is known")
    return shape


def _processes(rl: PPOSettings | GroupSettings | NoRL) -> int:
    return rl.num_processes if isinstance(rl, PPOSettings) else 1


def _divided(rl: PPOSettings | GroupSettings | NoRL) -> str | None:
    """What several processes share: `fsdp2`, `zero2`, or nothing (also of a file of accelerate's own)."""
    named = rl.accelerate_config if isinstance(rl, PPOSettings) and rl.num_processes > 1 else None
    return named if named in ("fsdp2", "zero2") else None
