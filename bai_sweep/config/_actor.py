"""The checkpoints, and how they become the actor that PPO starts from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from bai_sweep.config._training import PPOScale
from bai_sweep.config._values import Name, Ratio, Section, Source, Weights


class ModelConfig(Section):
    """The checkpoints: one base, N SFT models, the source of the tokenizer, the dtype PPO keeps weights in."""

    name: Name
    base: Source
    sft: dict[Name, Source] = Field(min_length=1)
    reward: Source | None
    tokenizer: str
    dtype: Literal["float32", "bfloat16", "float16"]
    ppo: PPOScale

    @model_validator(mode="after")
    def _tokenizer_is_a_member(self) -> ModelConfig:
        members = ["base", *self.sft]
        if self.tokenizer not in members:
            raise ValueError(f"tokenizer names one of the models ({', '.join(members)}); got {self.tokenizer!r}")
        return self


class MergedActor(Section):
    """BAI: `alpha * base + (1 - alpha) * sum_i weights[i] * sft[i]`; alpha = 0 is stage 1 alone."""

    kind: Literal["merge"]
    name: Name
    alpha: Ratio
    weights: Weights


class SFTActor(Section):
    """Paradigms 1 to 3: the actor is one of the SFT models as it is."""

    kind: Literal["sft"]
    name: Name
    sft: str
