"""The checkpoints, and how they become the actor that PPO starts from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from bai_sweep.config._training import PPOScale
from bai_sweep.config._values import Density, Name, NonNegative, Ratio, Section, Seed, Source, Weights


class ModelConfig(Section):
    """The checkpoints: one base, N SFT models; how their vocabularies meet; the dtype PPO keeps weights in.

    `tokenizer` names the model that gives tokenizer, chat template, special tokens and generation configuration.
    """

    name: Name
    base: Source
    sft: dict[Name, Source] = Field(min_length=1)
    reward: Source | None
    tokenizer: str
    vocabulary: Literal["union", "tokenizer"]
    missing_tokens: Literal["mean", "zero", "refuse"]
    dtype: Literal["float32", "bfloat16", "float16"]
    ppo: PPOScale

    @model_validator(mode="after")
    def _tokenizer_is_a_member(self) -> ModelConfig:
        members = ["base", *self.sft]
        if self.tokenizer not in members:
            raise ValueError(f"tokenizer names one of the models ({', '.join(members)}); got {self.tokenizer!r}")
        if "base" in self.sft:
            raise ValueError("sft: 'base' is the base model's name; give the SFT model another")
        return self


class LinearMerge(Section):
    """Both stages of the paper in one pass: `alpha * base + (1 - alpha) * sum_i w_i * sft_i`, rounded once."""

    method: Literal["linear"]


class TwoSaveMerge(Section):
    """The paper's stages as two runs of a merging tool: stage 1 is rounded to `dtype` as if saved, then stage 2."""

    method: Literal["two_save"]
    dtype: Literal["float32", "bfloat16", "float16"]


class SlerpMerge(Section):
    """From the base to stage 1 along the sphere, tensor by tensor, by `1 - alpha` of the way."""

    method: Literal["slerp"]


class TaskArithmeticMerge(Section):
    """`base + scale * sum_i w_i * (sft_i - base)`; a scale of null is `1 - alpha`."""

    method: Literal["task_arithmetic"]
    scale: NonNegative | None


class TiesMerge(Section):
    """Task vectors trimmed to their largest values, those against the elected sign left out, the rest averaged."""

    method: Literal["ties"]
    scale: NonNegative | None
    density: Density
    election: Literal["weight", "count"]


class DareMerge(Section):
    """Task vectors with values dropped at random and the others scaled up; with or without TIES' election."""

    method: Literal["dare"]
    scale: NonNegative | None
    density: Density
    election: Literal["weight", "count", "none"]
    seed: Seed


class LayerAlphas(Section):
    """alpha at the first, the middle and the last layer, linear between; null is the actor's alpha."""

    first: Ratio | None
    middle: Ratio | None
    last: Ratio | None


class PartAlphas(Section):
    """alpha of a kind of tensor, in place of its layer's; null leaves it to the layer, or to the actor's alpha."""

    embeddings: Ratio | None
    attention: Ratio | None
    mlp: Ratio | None
    norms: Ratio | None
    head: Ratio | None


class DepthMerge(Section):
    """The linear merge with an alpha for each depth and part of the model."""

    method: Literal["depth"]
    layers: LayerAlphas
    parts: PartAlphas


MergeMethod = Annotated[
    LinearMerge | TwoSaveMerge | SlerpMerge | TaskArithmeticMerge | TiesMerge | DareMerge | DepthMerge,
    Field(discriminator="method"),
]


class MergedActor(Section):
    """A merge: `alpha` is the base's share, `weights` the SFT models' among themselves; alpha = 0 is stage 1 alone."""

    kind: Literal["merge"]
    name: Name
    alpha: Ratio
    weights: Weights
    merge: MergeMethod


class SFTActor(Section):
    """Paradigms 1 to 3: the actor is one of the SFT models as it is."""

    kind: Literal["sft"]
    name: Name
    sft: str
