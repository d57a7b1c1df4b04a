"""How the vocabularies of a merge meet: tokens are aligned by their strings, not by their rows.

`plan_vocabulary` decides the result's ids; `aligned` reads a model's embeddings in those rows.
"""

from bai_sweep.merging.vocabulary._aligned import MissingTokens, aligned
from bai_sweep.merging.vocabulary._plan import plan_vocabulary, shown
from bai_sweep.merging.vocabulary._types import AddedToken, VocabularyPlan

__all__ = ["AddedToken", "MissingTokens", "VocabularyPlan", "aligned", "plan_vocabulary", "shown"]
