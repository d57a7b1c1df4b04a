"""SuperGPQA (m-a-p/SuperGPQA): graduate-level questions of 285 subfields with four to ten options, zero-shot.

`prompt` asks an item, `extract` reads the option that a response names, `score` compares it with the answer; the rest
are the official report's figures over scored items.
"""

from bai_sweep.scoring.supergpqa._extract import extract
from bai_sweep.scoring.supergpqa._figures import accuracy_within, macro_accuracy, share_unanswered
from bai_sweep.scoring.supergpqa._question import prompt, score, subfield_of

__all__ = ["accuracy_within", "extract", "macro_accuracy", "prompt", "score", "share_unanswered", "subfield_of"]
