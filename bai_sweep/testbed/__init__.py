"""The testbed: a tiny, real model family with its world, prompts, reward, benchmarks and training recipe.

Four checkpoints of one architecture and one tokenizer (base, instruct, distilled, reward), shipped in bf16 under
`weights_dir()` and rebuilt by ``python -m bai_sweep.testbed build``. Importing this imports nothing heavy.
"""

from bai_sweep.testbed._arena import battles, judge
from bai_sweep.testbed._benchmarks import arena_baseline, arena_items, arithmetic_items, knowledge_items
from bai_sweep.testbed._prompts import extract_answer, prompt_dataset, verifiable_reward
from bai_sweep.testbed._weights import weights_dir

__all__ = [
    "arena_baseline",
    "arena_items",
    "arithmetic_items",
    "battles",
    "extract_answer",
    "judge",
    "knowledge_items",
    "prompt_dataset",
    "verifiable_reward",
    "weights_dir",
]
