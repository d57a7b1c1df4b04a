"""Models with one number a token: the critic, and reward models.

Both are a causal backbone under a linear head with one output, as in Hugging Face's sequence-classification
checkpoints; a reward model reads it at the last token, a critic at every response token.
"""

from __future__ import annotations

import copy
from typing import cast, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from bai_sweep.generation import hidden_at
from bai_sweep.records import UserError
from bai_sweep.sources import resolve


@final
class ScalarModel(nn.Module):
    """A headless causal model and a linear head with one output."""

    def __init__(self, backbone: PreTrainedModel, head: nn.Linear) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(
        self, input_ids: Int[Tensor, "rows length"], rows: Int[Tensor, " n"], positions: Int[Tensor, " n"]
    ) -> Float[Tensor, " n"]:
        """The head's output in fp32 at N (row, position) pairs of right-padded rows."""
        values: Tensor = self.head(hidden_at(self.backbone, input_ids, rows, positions))
        return values[:, 0].float()

    @property
    def vocabulary(self) -> int:
        """Token ids it can read: 0 up to this."""
        return int(self.backbone.config.get_text_config().vocab_size)

    @classmethod
    def beside(cls, actor: PreTrainedModel) -> ScalarModel:
        """A copy of the actor's backbone under a head of zeros, whose first values are 0."""
        backbone = cast(PreTrainedModel, copy.deepcopy(actor.base_model))
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
        declared = scalar_architecture(source)
        name, revision = resolve(source)
        model = AutoModelForSequenceClassification.from_pretrained(name, revision=revision, dtype=dtype)
        head = getattr(model, "score", None)
        if not isinstance(head, nn.Linear):
            raise UserError(f"a reward model has its head in `score`; {declared} of {source!r} has none")
        return cls(model.base_model, head).to(device).eval()


def scalar_architecture(source: str) -> str:
    """The architecture that a checkpoint with one output declares; its weights are not read.

    Raises:
        UserError: The checkpoint is of another kind.
    """
    name, revision = resolve(source)
    config = AutoConfig.from_pretrained(name, revision=revision)
    declared = ", ".join(config.architectures or ()) or "no architecture"
    if "SequenceClassification" not in declared or config.num_labels != 1:
        raise UserError(
            "a critic or reward model is a sequence-classification checkpoint with one output; "
            f"{source!r} is {declared} with {config.num_labels}; train one with TRL's RewardTrainer"
        )
    return declared
