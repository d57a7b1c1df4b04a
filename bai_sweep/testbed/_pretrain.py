"""Pretraining of the base model: packed rows, Muon on the hidden matrices, AdamW on the rest.

Left out on purpose: a validation loop, gradient accumulation, checkpoints. It takes minutes; start again instead.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from bai_sweep.testbed._corpora import draw_base_chat, plain_document


@dataclass(frozen=True)
class PretrainConfig:
    """The recipe. Lengths are in tokens."""

    steps: int = 1250
    rows: int = 16
    row_length: int = 256
    muon_lr: float = 4e-3
    adamw_lr: float = 3e-3
    weight_decay: float = 0.05
    warmup: int = 60
    decay_from: float = 0.6
    chat_from: float = 0.45
    chat_share: float = 0.3


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """An untrained model of the family's one architecture, about 0.87 million parameters."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=352,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def document_stream(
    tokenizer: PreTrainedTokenizerFast, rng: random.Random, chat_share: Callable[[], float]
) -> Iterator[list[int]]:
    """Token ids of endless documents, chats among them at the share of the moment; tokenized 512 at a time."""
    while True:
        share = chat_share()
        texts = [_document(tokenizer, rng, share) for _ in range(512)]
        yield from tokenizer(texts)["input_ids"]


def _document(tokenizer: PreTrainedTokenizerFast, rng: random.Random, chat_share: float) -> str:
    if rng.random() < chat_share:
        return str(tokenizer.apply_chat_template(draw_base_chat(rng).messages, tokenize=False))
    return f"{plain_document(rng)} {tokenizer.eos_token}"


def packed_rows(documents: Iterator[list[int]], rows: int, length: int) -> Iterator[torch.Tensor]:
    """Batches of shape (rows, length): every row begins with a document; the one that overflows it is cut."""
    while True:
        batch = []
        for _ in range(rows):
            row: list[int] = []
            while len(row) < length:
                row += next(documents)
            batch.append(row[:length])
        yield torch.tensor(batch)


def make_optimizers(model: LlamaForCausalLM, config: PretrainConfig) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for embeddings and norms."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "layers" in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "layers" not in name]
    return [
        torch.optim.Muon(
            matrices, lr=config.muon_lr, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(others, lr=config.adamw_lr, weight_decay=config.weight_decay, betas=(0.9, 0.95)),
    ]


def lr_factor(step: int, config: PretrainConfig) -> float:
    """Linear warm-up, flat, then linear decay to nought."""
    warmup = min(1.0, (step + 1) / config.warmup)
    return min(warmup, (config.steps - step) / (config.steps * (1 - config.decay_from)))


def pretrain(
    tokenizer: PreTrainedTokenizerFast, config: PretrainConfig, seed: int, on_step: Callable[[float], None]
) -> LlamaForCausalLM:
    """Trains the base model from nothing and calls `on_step` with each step's loss (mean nats a token)."""
    torch.manual_seed(seed)
    model, step = new_model(tokenizer), 0
    optimizers = make_optimizers(model, config)
    schedules = [torch.optim.lr_scheduler.LambdaLR(o, lambda s: lr_factor(s, config)) for o in optimizers]
    documents = document_stream(
        tokenizer, random.Random(seed), lambda: config.chat_share if step >= config.chat_from * config.steps else 0.0
    )
    batches = packed_rows(documents, config.rows, config.row_length)
    for step in range(config.steps):  # noqa: B007 - read by the chat share above
        loss = train_step(model, next(batches))
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        on_step(loss)
    return model


def train_step(model: LlamaForCausalLM, batch: torch.Tensor) -> float:
    """Forward and backward over one batch, gradients clipped to norm 1; returns the loss."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=batch[:, :-1], use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    return loss.item()
