"""Checkpoints to an initial actor: Balanced Actor Initialization's two stages in one linear pass.

`initialise` merges straight into a live model; `save_model` writes a model as a Hugging Face folder.
"""

from bai_sweep.merging._initialise import InitialActor, initialise, recipe_of
from bai_sweep.merging._linear import linear_merge
from bai_sweep.merging._save import save_model

__all__ = ["InitialActor", "initialise", "linear_merge", "recipe_of", "save_model"]
