"""What the figures of a plan do not say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bai_sweep.config import NoRL, PPOSettings, TrialConfig
from bai_sweep.planning._assumptions import Assumptions, Device
from bai_sweep.planning._calibration import Calibration
from bai_sweep.planning._estimate import Estimate


def notes_of(
    config: TrialConfig,
    estimates: Sequence[Estimate],
    measured: Calibration | None,
    device: Device,
    assumed: Assumptions,
    *,
    workers: int,
) -> tuple[str, ...]:
    """Sentences, those that matter most first."""
    return tuple(_notes(config, estimates, measured, device, assumed, workers))


def _notes(  # noqa: PLR0917 - what a plan is made of
    config: TrialConfig,
    estimates: Sequence[Estimate],
    measured: Calibration | None,
    device: Device,
    assumed: Assumptions,
    workers: int,
) -> Iterator[str]:
    faults = {name: counted.fault for name, counted in estimates[0].items.items() if counted.fault}
    if faults:
        name, fault = next(iter(faults.items()))
        first = f"{name}: {fault}" if len(faults) > 1 else fault
        yield f"cannot run here: {', '.join(faults)} ({first})"
    if measured is not None:
        for name, reason in measured.missing.items():
            if name in estimates[0].items and not estimates[0].items[name].fault:
                yield f"{name} was not measured: {reason}"
    yield from _of_steps(config, measured, assumed)
    if workers > 1 and measured is not None:
        yield f"measured with one trial at a time; {workers} side by side share memory and disk, and take longer"
    if device.kind != "cpu" and measured is None:
        yield f"bai_sweep was not run on a GPU: the rates of {device.name} are the maker's and not ours"
    judged = [n for n, b in config.evaluation.benchmarks.items() if "judge" in b.needs]
    if judged:
        yield f"what the judge costs and how long it takes is not counted ({', '.join(judged)})"
    if any(one.total for one in estimates):
        yield "not counted: trials that pruning ends early, and trials that fail and are run again"


def _of_steps(config: TrialConfig, measured: Calibration | None, assumed: Assumptions) -> Iterator[str]:
    rl = config.rl
    if isinstance(rl, NoRL):
        return
    if measured is not None and measured.mean_length is not None:
        yield (
            f"a step takes longer as responses grow: they had {measured.mean_length:.0f} tokens when it was measured, "
            f"and may have {rl.max_new_tokens}; how they will grow nobody knows before the run"
        )
    else:
        yield (
            f"assumed prompts of {min(assumed.prompt_tokens, rl.max_prompt_tokens)} tokens, and responses that all "
            f"have rl.max_new_tokens={rl.max_new_tokens}: shorter ones take less"
        )
    if isinstance(rl, PPOSettings):
        if rl.critic_warmup_steps:
            yield f"the critic's {rl.critic_warmup_steps} steps of warm-up are counted as whole steps; they take less"
        if rl.accelerate_config not in (None, "fsdp2", "zero2"):
            yield f"what {rl.accelerate_config} divides among processes is counted whole"
        if rl.engine == "vllm":
            yield "the memory of vLLM is not counted"
