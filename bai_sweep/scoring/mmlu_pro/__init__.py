"""MMLU-Pro (TIGER-AI-Lab/MMLU-Pro): which option a response names.

lm-eval runs the benchmark; `extract` is the rule that its scores and the published ones rest on, and
`extract_with_fallbacks` tells how many answers that rule misses.
"""

from bai_sweep.scoring.mmlu_pro._extract import extract, extract_with_fallbacks

__all__ = ["extract", "extract_with_fallbacks"]
