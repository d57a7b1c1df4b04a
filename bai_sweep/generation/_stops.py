"""What ends a response: tokens and strings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from transformers import PreTrainedModel, PreTrainedTokenizerBase


def eos_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Every token that ends a response: the tokenizer's EOS and those of the model's generation config."""
    declared = getattr(model.generation_config, "eos_token_id", None)
    found = [tokenizer.eos_token_id, *(declared if isinstance(declared, list) else [declared])]
    return tuple(dict.fromkeys(int(i) for i in found if i is not None))


@final
class StopStrings:
    """Whether the tail of a row's text holds a stop string; only the tail is decoded, at every token."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stops: Sequence[str]) -> None:
        self.tokenizer, self.stops = tokenizer, tuple(stops)
        # A token may hold as little as one byte, so a string never spans more tokens than it has bytes.
        self.tail = max(len(s.encode()) for s in stops) + 4

    def __call__(self, tokens: Sequence[int]) -> bool:
        text = str(self.tokenizer.decode(list(tokens[-self.tail :]), skip_special_tokens=False))
        return any(stop in text for stop in self.stops)
