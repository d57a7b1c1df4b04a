"""Generating with a budget far above what responses need: batches sized by need, and by the budget.

200 arithmetic questions of the testbed in its chat format, sampled from the distilled model (temperature 1, top-p
0.95) with at most 2,000 new tokens and 16,384 positions of cache. Ours is `bai_sweep.generation.generate`; the other
side is the same sampler in batches in which every row has room for its whole budget, as `generate` made them before.
Both draw each answer from the same random numbers; how many come out the same is reported. Processor time, one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from common import report
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from bai_sweep.generation import batches_by_tokens, eos_ids, generate, in_order, sample, uniform_numbers
from bai_sweep.sources import testbed_weights
from bai_sweep.testbed import arithmetic_items

PROMPTS, NEW_TOKENS, BATCH_TOKENS = 200, 2000, 16384
SAMPLING = {"temperature": 1.0, "top_p": 0.95}


def prompts_of(tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """The questions in the chat format."""
    chats = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": item["question"]}], tokenize=False, add_generation_prompt=True
        )
        for item in arithmetic_items(PROMPTS)
    ]
    return [tokenizer.encode(chat, add_special_tokens=False) for chat in chats]


def by_budget(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[list[int]]) -> list[list[int]]:
    """Every row of a batch has room for all of its budget."""
    ends = eos_ids(model, tokenizer)
    answers: list[list[int]] = [[] for _ in prompts]
    for group in batches_by_tokens([len(prompt) + NEW_TOKENS for prompt in prompts], BATCH_TOKENS):
        columns = [uniform_numbers(NEW_TOKENS, 1, torch.Generator().manual_seed(i)) for i in group]
        drawn = sample(
            model, [prompts[i] for i in group], max_new_tokens=NEW_TOKENS, eos_token_ids=ends,
            uniform=torch.cat(columns, dim=1), **SAMPLING,
        )  # fmt: skip
        for i, tokens in zip(group, drawn.completions(), strict=True):
            answers[i] = tokens[:-1] if tokens[-1] in ends else tokens
    return answers


def measured(run: Callable[[], list[list[int]]]) -> tuple[float, list[list[int]]]:
    """Processor seconds of a run, and what it gave."""
    start = time.process_time()
    answers = run()
    return time.process_time() - start, answers


def main() -> None:
    """One run of each side."""
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(testbed_weights() / "distilled", dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(testbed_weights() / "base")
    prompts = prompts_of(tokenizer)
    settings = {"max_new_tokens": NEW_TOKENS, "batch_tokens": BATCH_TOKENS, "seeds": range(PROMPTS), **SAMPLING}
    ours, found = measured(lambda: in_order(generate(model, tokenizer, prompts, **settings)))
    peer, expected = measured(lambda: by_budget(model, tokenizer, prompts))
    lengths = sorted(map(len, found))
    report(
        "long_budgets",
        ours=ours,
        peer=peer,
        floor=None,
        versions={},
        results={
            "same_answers": sum(a == b for a, b in zip(found, expected, strict=True)),
            "prompts": PROMPTS,
            "median_length": lengths[PROMPTS // 2],
            "longest": lengths[-1],
        },
    )


if __name__ == "__main__":
    main()
