"""Which models go on from a common beginning, and that none answers otherwise for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    DynamicCache,
    Gemma2Config,
    GPT2Config,
    GPTNeoConfig,
    LlamaConfig,
    MptConfig,
    OpenAIGPTConfig,
    Phi3Config,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RwkvConfig,
)

from bai_sweep.generation import TokenScorer, continuation_logprobs, generate, in_order, pad_right, sample
from bai_sweep.generation._heads import give, head_of
from bai_sweep.generation._sharing import can_share

EOS = 5
TOKENS = {"vocab_size": 40, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": EOS}
SMALL = {"hidden_size": 32, "initializer_range": 0.3, **TOKENS}
LAYERS = {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, **SMALL}
LONG = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [9.0] * 4, "rope_theta": 10_000.0}

CONFIGS: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaConfig(**LAYERS),
    "gpt2": lambda: GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=128, initializer_range=0.3, **TOKENS),
    "bloom": lambda: BloomConfig(n_layer=2, n_head=4, **SMALL),
    "mpt": lambda: MptConfig(d_model=32, n_heads=4, n_layers=2, max_seq_len=128, initializer_range=0.3, **TOKENS),
    "gpt-neo": lambda: GPTNeoConfig(
        num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]], window_size=40,
        max_position_embeddings=128, **SMALL,
    ),
    "phi3 with longrope": lambda: Phi3Config(
        rope_parameters=dict(LONG), original_max_position_embeddings=50, max_position_embeddings=450, **LAYERS
    ),
    "llama with dynamic rope": lambda: LlamaConfig(
        rope_parameters={"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10_000.0},
        max_position_embeddings=48, **LAYERS,
    ),
    "gemma2": lambda: Gemma2Config(num_key_value_heads=2, head_dim=8, sliding_window=16, **LAYERS),
    "openai-gpt": lambda: OpenAIGPTConfig(n_embd=32, n_layer=2, n_head=4, n_positions=128, vocab_size=40),
    "rwkv": lambda: RwkvConfig(hidden_size=32, num_hidden_layers=2, vocab_size=40, context_length=128),
}  # fmt: skip
SHARING = ("llama", "gpt2", "bloom")
WITHOUT_CACHE = ("openai-gpt", "rwkv")
HEADER = [6 + (i * i) % 34 for i in range(45)]
PROMPTS = [HEADER + [6 + (k * k + i) % 34 for i in range(6 + 3 * k)] for k in range(9)]


def tiny(kind: str) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(CONFIGS[kind]()).eval()
    return model


def tokenizer() -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordLevel({f"w{i}": i for i in range(40)}, unk_token="w3"))
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=f"w{EOS}", pad_token="w0")


@pytest.mark.parametrize("kind", CONFIGS)
def test_only_models_that_count_no_places_share(kind: str) -> None:
    assert can_share(tiny(kind)) == (kind in SHARING)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("kind", ["llama", "mpt"])
def test_the_answer_is_the_same_in_every_precision(kind: str, dtype: torch.dtype) -> None:
    assert can_share(tiny(kind).to(dtype)) == (kind == "llama")
    with torch.autocast("cpu", torch.bfloat16):
        assert can_share(tiny(kind)) == (kind == "llama")


@pytest.mark.parametrize(
    "kind", [k for k in CONFIGS if k != "llama with dynamic rope"]
)  # its answers depend on the past
def test_scores_are_those_of_one_forward_pass_each(kind: str) -> None:
    model = tiny(kind)
    pairs = [(prompt, [7, 9]) for prompt in PROMPTS]
    for (context, continuation), (got, _) in zip(
        pairs, in_order(continuation_logprobs(model, pairs, 3 * 76)), strict=True
    ):
        with torch.no_grad():
            # the last token is only predicted: to longrope the length of what is fed matters
            logits = model(torch.tensor([context + continuation[:-1]])).logits[0, len(context) - 1 :].double()
        expected = logits.log_softmax(-1)[[0, 1], continuation].sum()
        assert got == pytest.approx(float(expected), abs=1e-4)


# Where rotary embeddings change with length, an answer depends on the batch even without sharing.
@pytest.mark.parametrize("kind", [k for k in CONFIGS if k not in WITHOUT_CACHE and "rope" not in k])
def test_answers_are_those_of_each_prompt_alone(kind: str) -> None:
    model = tiny(kind)
    draw: dict[str, Any] = {"max_new_tokens": 12, "temperature": 1.0}
    seeds = list(range(len(PROMPTS)))
    whole = in_order(generate(model, tokenizer(), PROMPTS, seeds=seeds, batch_tokens=3 * 87, **draw))
    for prompt, seed, answer in zip(PROMPTS, seeds, whole, strict=True):
        (alone,) = in_order(generate(model, tokenizer(), [prompt], seeds=[seed], batch_tokens=1, **draw))
        assert answer == alone
    assert len({tuple(answer) for answer in whole}) == len(PROMPTS)


@pytest.mark.parametrize("kind", SHARING)
def test_sampling_from_a_head_draws_what_whole_prompts_draw(kind: str) -> None:
    draw: dict[str, Any] = {"max_new_tokens": 15, "temperature": 1.0, "eos_token_ids": [EOS]}
    model = tiny(kind)
    whole, shared = (
        sample(model, PROMPTS, shared=s, generator=torch.Generator().manual_seed(1), **draw) for s in (0, len(HEADER))
    )
    assert shared.completions() == whole.completions()
    torch.testing.assert_close(shared.logprobs, whole.logprobs, atol=3e-5, rtol=0)


@pytest.mark.parametrize("kind", SHARING)
def test_a_head_keeps_nothing_of_the_rows_that_pass(kind: str) -> None:
    model = tiny(kind)
    rows = [prompt[len(HEADER) :] for prompt in PROMPTS]
    where = torch.tensor([[r, p] for r, row in enumerate(rows) for p in range(len(row) - 1)]).T
    targets = torch.tensor([rows[r][p + 1] for r, p in where.T.tolist()])
    scorer, ids = TokenScorer(model), pad_right(rows, device=model.device)
    with torch.inference_mode():
        head = head_of(model, HEADER)
        kept = [(layer.keys, layer.values) for layer in head.layers]
        first, again = (scorer.score(ids, *where, targets, past=head).logprobs for _ in range(2))
        whole = scorer.score(pad_right(PROMPTS, device=model.device), where[0], where[1] + len(HEADER), targets)
    assert head.get_seq_length() == len(HEADER)
    for layer, (keys, values) in zip(head.layers, kept, strict=True):
        assert layer.keys is keys
        assert layer.values is values
        assert len(keys) == 1
        tensors = [value for value in vars(layer).values() if isinstance(value, torch.Tensor)]
        assert {id(tensor) for tensor in tensors} == {id(keys), id(values)}
    assert torch.equal(first, again)
    torch.testing.assert_close(first, whole.logprobs, atol=3e-5, rtol=0)


def test_a_head_is_computed_once_for_all_batches_of_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    model, fed = tiny("llama"), []
    monkeypatch.setattr("bai_sweep.generation._continuations.can_share", lambda _: True)
    model.base_model.register_forward_pre_hook(
        lambda module, args, kwargs: fed.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    batches = list(continuation_logprobs(model, [(prompt, [7]) for prompt in PROMPTS], 3 * 75))
    assert len(batches) == 3
    assert fed.count((1, len(HEADER))) == 1
    assert [rows for rows, length in fed if length < len(HEADER)][-3:] == [3, 3, 3]


def test_a_model_that_fills_no_cache_has_no_head() -> None:
    with pytest.raises(ValueError, match="'openai-gpt' keeps no keys and values"):
        head_of(tiny("openai-gpt"), HEADER)


def test_a_head_is_put_before_every_row() -> None:
    model = tiny("llama")
    with torch.no_grad():
        head, cache = head_of(model, HEADER), DynamicCache(config=model.config)
        give(cache, head, 3)
    for layer, computed in zip(cache.layers, head.layers, strict=True):
        assert torch.equal(layer.keys, computed.keys.repeat(3, 1, 1, 1))
