"""A Llama of 30,000 parameters with a word-level tokenizer: real classes, nothing learned."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WORDS = ["<pad>", "<bos>", "<eos>", "<think>", "</think>", *"abcdefghijklmnopqrstuvwxyz0123456789+-=.?"]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ ' ' + m['content'] + ' ' }}"
    "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Single letters, digits and signs, split at white space."""
    vocabulary = {word: index for index, word in enumerate(WORDS)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", padding_side="left"
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def tiny_model(seed: int = 0, **overrides: object) -> LlamaForCausalLM:
    """An untrained model in float32."""
    settings = {
        "vocab_size": len(WORDS),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig(**{**settings, **overrides}))


def save_tiny_model(folder: Path, seed: int = 0, dtype: torch.dtype = torch.bfloat16, **overrides: object) -> Path:
    """The model and its tokenizer as a Hugging Face folder."""
    tiny_model(seed, **overrides).to(dtype).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder
