"""Models with one number a token: the critic, and reward models.

Both are a causal backbone under a linear head with one output, as in Hugging Face's sequence-classification
checkpoints; a reward model reads it at the last token, a critic at every response token.
"""

from __future__ import annotations

from typing import cast, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from bai_sweep.generation import hidden_at
from bai_sweep.ppo.networks._lora import copy_sharing_frozen
from bai_sweep.records import UserError
from bai_sweep.sources import fault_of, reading, resolve


@final
class ScalarModel(nn.Module):
    """A headless causal model and a linear head with one output."""

    def __init__(self, backbone: PreTrainedModel, head: nn.Linear) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(
        self, input_ids: Int[Tensor, "rows length"], rows: Int[Tensor, " n"], positions: Int[Tensor, " n"]
    ) -> Float[Tensor, " n"]:
        """The head's output in fp32 (fp64 of an fp64 model) at N (row, position) pairs of right-padded rows.

        Under autocast the backbone alone computes in bf16: returns are of the size of rewards, and values near 10
        would be rounded to multiples of 1/16.
        """
        hidden = hidden_at(self.backbone, input_ids, rows, positions)
        with torch.autocast(hidden.device.type, enabled=False):
            values: Tensor = self.head(hidden.to(self.head.weight.dtype))
        # The sum of one number, not values[:, 0]: what a sharded module returns may not be a view.
        return values.sum(dim=1, dtype=torch.promote_types(values.dtype, torch.float32))

    @property
    def vocabulary(self) -> int:
        """Token ids it can read: 0 up to this."""
        return int(self.backbone.config.get_text_config().vocab_size)

    @classmethod
    def beside(cls, actor: PreTrainedModel) -> ScalarModel:
        """A copy of the actor's backbone under a head of zeros, whose first values are 0.

        Of an actor with an adapter it is an adapter of its own over the same frozen weights.
        """
        backbone = cast(PreTrainedModel, copy_sharing_frozen(actor.base_model))
        # Not nn.Linear(...): its own initialisation would draw from the global random state.
        size = backbone.config.get_text_config().hidden_size
        head = cast(nn.Linear, nn.utils.skip_init(nn.Linear, size, 1, bias=False))  # type: ignore[no-untyped-call]
        nn.init.zeros_(head.weight)
        return cls(backbone, head.to(actor.device, actor.dtype))

    @classmethod
    def load(cls, source: str, dtype: torch.dtype, device: torch.device) -> ScalarModel:
        """Reads a sequence-classification checkpoint with one output: backbone and head.

        Raises:
            UserError: The checkpoint is of another kind, or its head has another shape.
        """
        scalar_architecture(source)
        name, revision = resolve(source)
        with reading(source):
            model = AutoModelForSequenceClassification.from_pretrained(name, revision=revision, dtype=dtype)
        return cls.of(model).to(device).eval()

    @classmethod
    def of(cls, model: PreTrainedModel) -> ScalarModel:
        """Backbone and head of a sequence-classification model with one output; they are not copied.

        Raises:
            UserError: It is of another kind.
        """
        head = getattr(model, "score", None)
        if not isinstance(head, nn.Linear) or head.out_features != 1:
            raise UserError(
                "a critic or reward model is a sequence-classification model whose head `score` has one output; got "
                f"{type(model).__name__}"
                + (f" with {head.out_features} outputs" if isinstance(head, nn.Linear) else " without `score`")
            )
        return cls(cast(PreTrainedModel, model.base_model), head)


def scalar_architecture(source: str) -> str:
    """The architecture that a checkpoint with one output declares; its weights are not read.

    Raises:
        UserError: The checkpoint is not there, or of another kind.
    """
    if fault := fault_of(source):
        raise UserError(f"a critic or reward model is a sequence-classification checkpoint; {fault}")
    name, revision = resolve(source)
    with reading(source):
        config = AutoConfig.from_pretrained(name, revision=revision)
    declared = ", ".join(config.architectures or ()) or "no architecture"
    if "SequenceClassification" not in declared or config.num_labels != 1:
        raise UserError(
            "a critic or reward model is a sequence-classification checkpoint with one output; "
            f"{source!r} is {declared} with {config.num_labels}; train one with TRL's RewardTrainer"
        )
    return declared
