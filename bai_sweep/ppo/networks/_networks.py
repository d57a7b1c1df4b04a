"""The networks of a training run, and how they compute."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, cast

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from bai_sweep.config import PPOSettings
from bai_sweep.ppo.networks._actor_critic import ActorCritic, FrozenPolicy
from bai_sweep.ppo.networks._checks import check_length, check_sampled, check_trained
from bai_sweep.ppo.networks._deepspeed import Zero2
from bai_sweep.ppo.networks._lora import (
    add_adapter,
    add_layers,
    copy_sharing_frozen,
    lora_config,
    opened,
    shares_weights,
    unchanged_on_error,
)
from bai_sweep.ppo.networks._recompute import attention, keep_activations, recompute_layers
from bai_sweep.ppo.networks._scalar import ScalarModel
from bai_sweep.ppo.networks._sharding import collect, shard
from bai_sweep.ppo.processes import Processes, environment_of, sharding_of, zero_of
from bai_sweep.ppo.rollouts import ResponseTokens
from bai_sweep.records import UserError

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel

T = TypeVar("T")

SHORT = 512
"""Sequences of up to this many tokens train faster without a fused attention kernel on a CPU."""


@dataclass(frozen=True)
class Networks:
    """Actor and critic, which are trained, and the frozen reference: the actor as it was.

    All stay in evaluation mode: with dropout, the ratio of new to old policy would not be 1 where they are equal.

    Args:
        module: Actor and critic.
        whole: What rollouts sample from, and what the caller gave: the actor. Where the actor is sharded it is a copy,
            which has the trained weights after `collect`.
        reference: Of an actor with an adapter it shares the frozen weights: the actor with its adapter switched off.
        adapter: The PEFT model around the actor, if only an adapter is trained.
        probes: Further frozen policies, to which the KL is reported.
        precision: Of forward and backward.
        longest: Most tokens in a row.
        zero: Divides gradients and optimizer states over the processes, if DeepSpeed shall.
    """

    module: ActorCritic
    whole: PreTrainedModel
    reference: FrozenPolicy
    adapter: PeftModel | None
    probes: Mapping[str, FrozenPolicy]
    precision: str
    longest: int
    zero: Zero2 | None = None

    @property
    def actor(self) -> PreTrainedModel:
        """The trained policy, with the adapter's layers in place if there is one, maybe sharded."""
        return self.module.actor

    @property
    def sharded(self) -> bool:
        """Whether each process holds a part of the trained weights only."""
        return self.whole is not self.actor

    @property
    def critic(self) -> ScalarModel:
        """The value function."""
        return self.module.critic

    def actor_parameters(self) -> list[nn.Parameter]:
        """The actor's trained parameters."""
        return [p for p in self.actor.parameters() if p.requires_grad]

    def critic_parameters(self) -> list[nn.Parameter]:
        """The critic's trained parameters."""
        return [p for p in self.critic.parameters() if p.requires_grad]

    def reference_logprobs(self, tokens: ResponseTokens, temperature: float) -> Float[Tensor, " tokens"]:
        """What the reference gives response tokens."""
        logprobs: Tensor = self.reference(tokens, temperature)
        return logprobs

    def probe_logprobs(self, name: str, tokens: ResponseTokens, temperature: float) -> Float[Tensor, " tokens"]:
        """What a probe gives response tokens."""
        logprobs: Tensor = self.probes[name](tokens, temperature)
        return logprobs

    @contextmanager
    def computing(self) -> Iterator[None]:
        """The precision and the attention of scoring and training."""
        device = self.actor.device.type
        others = [policy.model for policy in (self.reference, *self.probes.values())]
        with ExitStack() as stack:
            # Measured on a 0.85M-parameter Llama, 8 rows of 130 tokens in bf16, forward and backward: eager 45 ms,
            # SDPA's math kernel 52 ms, its flash kernel 77 ms.
            if device == "cpu" and self.longest <= SHORT:
                for model in (self.actor, self.critic.backbone, *others):
                    stack.enter_context(attention(model.config, "eager"))
            stack.enter_context(torch.autocast(device, torch.bfloat16, enabled=self.precision == "bf16"))
            yield

    def passes(self, groups: Sequence[T], spare: T, processes: Processes) -> Iterator[tuple[T, bool]]:
        """What this process runs the module over.

        Sharded networks have to be called equally often in all processes, and so has what divides gradients.

        Args:
            groups: The groups of rows that are this process's.
            spare: What it runs them over in place of the groups that others have more; must count nothing.
            processes: Those that share the run.

        Yields:
            A group, and whether it counts.
        """
        most = len(groups)
        if self.sharded or self.zero is not None:
            most = int(processes.max(torch.tensor(float(most), device=self.whole.device)))
        yield from ((group, True) for group in groups)
        yield from ((spare, False) for _ in range(most - len(groups)))

    def collect(self) -> None:
        """Brings `whole` to the trained weights; every process calls it."""
        if self.sharded:
            collect(self.actor, self.whole)

    def keep_activations(self) -> None:
        """Ends gradient checkpointing, which would stay in the caller's model."""
        for model in (self.actor, self.critic.backbone):
            keep_activations(model)

    def finish(self) -> None:
        """Leaves the caller's model plain and trained: an adapter becomes part of its weights."""
        self.collect()
        if self.zero is not None:
            self.zero.finish()
        self.keep_activations()
        if self.adapter is not None:
            self.adapter.merge_and_unload()


def make_networks(
    model: PreTrainedModel | PeftModel,
    critic: ScalarModel | None,
    settings: PPOSettings,
    *,
    device: torch.device,
    longest: int,
    reference: PreTrainedModel | None = None,
    probes: Mapping[str, PreTrainedModel] | None = None,
    peft_config: PeftConfig | None = None,
    seed: int = 0,
) -> Networks:
    """Sets up the networks for rows of up to `longest` tokens.

    With an adapter, actor and critic each learn one of their own (and the critic its head) over frozen weights.
    Without, weights that are frozen stay frozen.

    Args:
        model: The actor; or a PEFT model, whose adapter goes on learning.
        critic: None: as the settings say, of a checkpoint or beside the actor (which then shares its frozen weights).
        settings: The run's.
        device: Where all networks go.
        longest: Most tokens in a row.
        reference: None: the actor as it is.
        probes: Further frozen policies by name; those that share weights with the actor are copied.
        peft_config: An adapter for actor and critic in place of the settings' `lora`.
        seed: Of a new adapter's weights.

    Raises:
        UserError: The rows do not fit a network's positions; the critic's checkpoint, or an adapter, does not fit;
            the actor or the critic has no weights to train; the engine cannot sample from the actor. Up to there the
            actor is left as it was.
    """
    actor, adapter = opened(model)
    for earlier in (actor, *([] if critic is None else [critic.backbone])):
        keep_activations(earlier)  # of a run that was not ended
    check_length(actor, longest)
    if settings.engine == "hf":
        check_sampled(actor)
    config = _adapter_config(adapter, peft_config, settings)
    with unchanged_on_error(model, *([] if critic is None else [critic])):
        if adapter is not None:
            adapter.set_adapter(adapter.active_adapter)  # trainable, also if it was loaded for inference
        actor.to(device).eval()  # type: ignore[arg-type]  # typed for tensors only
        if adapter is None and config is not None:
            actor.requires_grad_(False)
        probes = {name: _apart(policy, actor) for name, policy in (probes or {}).items()}
        reference = copy_sharing_frozen(actor) if reference is None else reference
        if adapter is None and config is not None:
            adapter = add_adapter(actor, config, seed)
        critic = make_critic(actor, settings.critic, device) if critic is None else critic
        if config is not None:
            add_layers(critic.backbone, config, seed)
            critic.head.requires_grad_(True)
        critic.to(device).eval()
        _check(actor, critic, reference, probes, settings, longest)
    return _assembled(actor, critic, reference, probes, adapter, settings, device=device, longest=longest)


def _assembled(  # noqa: PLR0917 - the networks, each of another role
    actor: PreTrainedModel,
    critic: ScalarModel,
    reference: PreTrainedModel,
    probes: Mapping[str, PreTrainedModel],
    adapter: PeftModel | None,
    settings: PPOSettings,
    *,
    device: torch.device,
    longest: int,
) -> Networks:
    """The networks as they run: recomputed and sharded as the settings and the launcher say."""
    launched = _launched(settings)
    whole, sharding = actor, sharding_of(launched)
    if sharding is not None:
        # Within one module each sharded weight is there once: the critic gets frozen weights of its own.
        actor, critic = copy_sharing_frozen(whole), copy.deepcopy(critic)
    if settings.gradient_checkpointing:
        recompute_layers(actor)
        recompute_layers(critic.backbone)
    networks = Networks(
        module=ActorCritic(actor, critic),
        whole=whole,
        reference=FrozenPolicy(reference.to(device)),  # type: ignore[arg-type]
        adapter=adapter,
        probes={name: FrozenPolicy(policy.to(device)) for name, policy in probes.items()},  # type: ignore[arg-type]
        precision=settings.precision,
        longest=longest,
        zero=Zero2() if zero_of(launched) else None,
    )
    if sharding is not None:
        shard([networks.module, networks.reference, *networks.probes.values()], device, reshard=sharding)
    return networks


def _apart(policy: PreTrainedModel, actor: PreTrainedModel) -> PreTrainedModel:
    """A frozen policy that the actor's training does not change."""
    return copy_sharing_frozen(policy) if shares_weights(policy, actor) else policy


def _check(  # noqa: PLR0917 - the networks, each of another role
    actor: PreTrainedModel,
    critic: ScalarModel,
    reference: PreTrainedModel,
    probes: Mapping[str, PreTrainedModel],
    settings: PPOSettings,
    longest: int,
) -> None:
    named = {f"probe {name}": probe for name, probe in probes.items()}
    for name, model in {"critic": critic.backbone, "reference": reference, **named}.items():
        check_length(model, longest, name)
    rates = {"actor": settings.actor_learning_rate, "critic": settings.critic_learning_rate}
    check_trained({"actor": actor, "critic": critic}, rates)


def _launched(settings: PPOSettings) -> dict[str, str]:
    """How processes share a run: what the settings say, or who launched this one."""
    return {**os.environ, **environment_of(settings.accelerate_config)} if dist.is_initialized() else {}


def _adapter_config(
    adapter: PeftModel | None, peft_config: PeftConfig | None, settings: PPOSettings
) -> PeftConfig | None:
    """Of the adapters to train: the model's own, the one given, or the settings'; None: all weights are trained."""
    if adapter is not None:
        if peft_config is not None or settings.lora is not None:
            raise UserError(
                "a model with an adapter goes on with that adapter; leave out peft_config and lora, or merge it first "
                "(model.merge_and_unload())"
            )
        return cast("PeftConfig", adapter.active_peft_config)
    if peft_config is None and settings.lora is not None:
        return lora_config(settings.lora)
    return peft_config


def make_critic(actor: PreTrainedModel, source: str | None, device: torch.device) -> ScalarModel:
    """The critic of a checkpoint, or one that starts beside the actor.

    Raises:
        UserError: The checkpoint is of another kind, or knows fewer tokens than the actor.
    """
    if source is None:
        return ScalarModel.beside(actor)
    critic = ScalarModel.load(source, actor.dtype, device)
    known = actor.config.get_text_config().vocab_size
    if critic.vocabulary < known:
        raise UserError(
            f"the critic reads the actor's tokens; rl.critic={source!r} knows {critic.vocabulary} and the "
            f"actor {known}; use one of the actor's family, or null to start from the actor"
        )
    return critic
