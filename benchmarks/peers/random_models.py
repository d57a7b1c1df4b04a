"""Random models whose every response has full length, with a tokenizer of one word a token."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

PAD, EOS = 0, 1
NEVER = (PAD, EOS)

SMALL = {
    "vocab_size": 350,
    "hidden_size": 128,
    "intermediate_size": 352,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "tie_word_embeddings": False,
}
SMOLLM2_135M = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
}


def make_policy(shape: dict[str, int | bool], folder: Path) -> None:
    """Writes a causal model that never gives PAD or EOS any probability, and its tokenizer.

    One channel of all embeddings is constant and survives into the last hidden state, so that a large negative weight
    of these tokens' output rows there is a large negative logit everywhere.
    """
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**shape, pad_token_id=PAD, eos_token_id=EOS, bos_token_id=None))
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 0] = 0.5
        model.lm_head.weight[list(NEVER), 0] = -20.0
    model.save_pretrained(folder)
    make_tokenizer(int(shape["vocab_size"])).save_pretrained(folder)


def make_reward(shape: dict[str, int | bool], folder: Path) -> None:
    """Writes a sequence-classification model with one output."""
    torch.manual_seed(1)
    config = LlamaConfig(**shape, pad_token_id=PAD, eos_token_id=EOS, bos_token_id=None, num_labels=1)
    LlamaForSequenceClassification(config).save_pretrained(folder)
    make_tokenizer(int(shape["vocab_size"])).save_pretrained(folder)


def make_tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """Words w3, w4, ... between spaces, a token each, after those for padding, end and what is unknown."""
    special = ("<pad>", "<eos>", "<unk>")
    known = {word: i for i, word in enumerate([*special, *(f"w{i}" for i in range(len(special), vocabulary))])}
    inner = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token=special[PAD], eos_token=special[EOS], unk_token="<unk>"
    )


def make_prompts(vocabulary: int, rows: int, tokens: int) -> list[str]:
    """Random words; the last space keeps the completion's first word apart."""
    rng = random.Random(0)
    return [" ".join(f"w{rng.randrange(3, vocabulary)}" for _ in range(tokens)) + " " for _ in range(rows)]
