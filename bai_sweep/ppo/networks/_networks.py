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
from bai_sweep.ppo.networks._lora import add_adapter, add_layers, copy_sharing_frozen, lora_config, opened
from bai_sweep.ppo.networks._recompute import attention, keep_activations, recompute_layers
from bai_sweep.ppo.networks._scalar import ScalarModel
from bai_sweep.ppo.networks._sharding import collect, shard
from bai_sweep.ppo.processes import Processes, environment_of, sharding_of
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
    """

    module: ActorCritic
    whole: PreTrainedModel
    reference: FrozenPolicy
    adapter: PeftModel | None
    probes: Mapping[str, FrozenPolicy]
    precision: str
    longest: int

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

        Sharded networks have to be called equally often in all processes.

        Args:
            groups: The groups of rows that are this process's.
            spare: What it runs them over in place of the groups that others have more; must count nothing.
            processes: Those that share the run.

        Yields:
            A group, and whether it counts.
        """
        most = len(groups)
        if self.sharded:
            most = int(processes.max(torch.tensor(float(most), device=self.whole.device)))
        yield from ((group, True) for group in groups)
        yield from ((spare, False) for _ in range(most - len(groups)))

    def collect(self) -> None:
        """Brings `whole` to the trained weights; every process calls it."""
        if self.sharded:
            collect(self.actor, self.whole)

    def finish(self) -> None:
        """Leaves the caller's model plain and trained: an adapter becomes part of its weights."""
        self.collect()
        for model in (self.actor, self.critic.backbone):
            keep_activations(model)
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

    Args:
        model: The actor; or a PEFT model, whose adapter goes on learning.
        critic: None: as the settings say, of a checkpoint or beside the actor (which then shares its frozen weights).
        settings: The run's.
        device: Where all networks go.
        longest: Most tokens in a row.
        reference: None: the actor as it is.
        probes: Further frozen policies by name.
        peft_config: An adapter for actor and critic in place of the settings' `lora`.
        seed: Of a new adapter's weights.

    Raises:
        UserError: The rows do not fit the actor's positions; the critic's checkpoint, or an adapter, does not fit.
    """
    actor, adapter = opened(model)
    check_length(actor, longest)
    config = _adapter_config(adapter, peft_config, settings)
    actor.to(device).eval()  # type: ignore[arg-type]  # typed for tensors only
    if adapter is None:
        actor.requires_grad_(config is None)
    reference = copy_sharing_frozen(actor) if reference is None else reference
    if adapter is None and config is not None:
        adapter = add_adapter(actor, config, seed)
    critic = make_critic(actor, settings.critic, device) if critic is None else critic
    if config is not None:
        add_layers(critic.backbone, config, seed)
    critic.to(device).eval()
    (critic if config is None else critic.head).requires_grad_(True)
    whole, sharding = actor, _sharding(settings)
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
        probes={name: FrozenPolicy(policy.to(device)) for name, policy in (probes or {}).items()},  # type: ignore[arg-type]
        precision=settings.precision,
        longest=longest,
    )
    if sharding is not None:
        shard([networks.module, networks.reference, *networks.probes.values()], device, reshard=sharding)
    return networks


def _sharding(settings: PPOSettings) -> bool | None:
    """What the settings say, or who launched this process."""
    if not dist.is_initialized():
        return None
    return sharding_of({**os.environ, **environment_of(settings.accelerate_config)})


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


def check_length(actor: PreTrainedModel, longest: int) -> None:
    """Whether rows of so many tokens fit the model.

    Raises:
        UserError: They do not.
    """
    config = actor.config.get_text_config()
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and longest > positions:
        raise UserError(
            f"prompt and completion fit in the model's {positions} positions; the longest prompt and "
            f"rl.max_new_tokens make {longest}; lower rl.max_new_tokens"
        )
    # LongRoPE turns all keys by other frequencies once a batch is longer than the original positions. The sampler's
    # cache keeps keys turned by the old ones, so old and new policy would differ. (`dynamic` RoPE does so past
    # max_position_embeddings, which is refused above.)
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(kind for kind in rope.values() if isinstance(kind, dict))]  # one for each type of layer
    for kind in kinds:
        if kind.get("rope_type") == "longrope" and longest > (original := kind["original_max_position_embeddings"]):
            raise UserError(
                f"prompt and completion fit in the {original} original_max_position_embeddings of a model with "
                f"longrope; the longest prompt and rl.max_new_tokens make {longest}; lower rl.max_new_tokens"
            )


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
