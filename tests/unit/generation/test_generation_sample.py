"""Sampling against transformers' own generate, against the model's full forward pass, and against its distribution."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    FalconConfig,
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaForCausalLM,
    PreTrainedModel,
)

from bai_sweep.generation import sample
from bai_sweep.generation._draw import draw

EOS = 5  # the model fixture's
ENDS = (5, 6, 7, 8)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def greedy_reference(model: PreTrainedModel, prompt: list[int], new: int) -> list[int]:
    out = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt)),
        max_new_tokens=new,
        do_sample=False,
        eos_token_id=EOS,
        pad_token_id=0,
    )
    return out[0, len(prompt) :].tolist()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_greedy_is_what_transformers_generates_row_by_row(
    model: LlamaForCausalLM, prompts: list[list[int]], attention: str
) -> None:
    model.set_attn_implementation(attention)
    got = sample(model, prompts, max_new_tokens=25, temperature=0.0, eos_token_ids=[EOS]).completions()
    assert got == [greedy_reference(model, p, 25) for p in prompts]
    model.set_attn_implementation("sdpa")


def test_sliding_window_models_keep_their_own_cache(prompts: list[list[int]]) -> None:
    torch.manual_seed(1)
    config = Gemma2Config(
        vocab_size=40, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, sliding_window=8, initializer_range=0.5, pad_token_id=0, eos_token_id=EOS,
    )  # fmt: skip
    model = Gemma2ForCausalLM(config).eval()
    got = sample(model, prompts, max_new_tokens=20, temperature=0.0, eos_token_ids=[EOS]).completions()
    assert got == [greedy_reference(model, p, 20) for p in prompts]


@pytest.mark.parametrize(
    ("kind", "changes"),
    [(BloomConfig, {"n_layer": 2, "n_head": 4})]
    + [(FalconConfig, {"num_hidden_layers": 2, "num_attention_heads": 4, "alibi": alibi}) for alibi in (True, False)],
    ids=["bloom", "falcon with alibi", "falcon"],
)
def test_alibi_models_get_a_mask_they_can_read(prompts: list[list[int]], kind: type, changes: dict[str, int]) -> None:
    torch.manual_seed(0)
    tokens = {"vocab_size": 40, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": EOS}
    config = kind(hidden_size=32, initializer_range=0.3, **tokens, **changes)
    model = AutoModelForCausalLM.from_config(config).eval()
    got = sample(model, prompts, max_new_tokens=25, temperature=0.0, eos_token_ids=[EOS]).completions()
    assert got == [greedy_reference(model, p, 25) for p in prompts]
    assert len({tuple(row) for row in got}) > 3, "the seed should give different rows"


@pytest.mark.parametrize("temperature", [0.6, 1.0])
def test_logprobs_are_those_of_the_full_forward_pass(
    model: LlamaForCausalLM, prompts: list[list[int]], temperature: float
) -> None:
    drawn = sample(
        model, prompts, max_new_tokens=30, temperature=temperature, eos_token_ids=ENDS, generator=generator()
    )
    for prompt, tokens, logprobs in zip(prompts, drawn.completions(), drawn.logprobs, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
        expected = (logits / temperature).log_softmax(-1)[torch.arange(len(tokens)), tokens]
        torch.testing.assert_close(logprobs[: len(tokens)], expected, atol=3e-5, rtol=0)
        assert (logprobs[len(tokens) :] == 0).all()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_static_cache_gives_the_same_tokens_in_few_shapes(
    model: LlamaForCausalLM, prompts: list[list[int]], temperature: float, attention: str
) -> None:
    shapes: list[tuple[torch.Size, ...]] = []

    def note(_: torch.nn.Module, __: object, fed: dict[str, torch.Tensor]) -> None:
        shapes.append(tuple(fed[name].shape for name in ("input_ids", "position_ids", "attention_mask")))

    draw = {"max_new_tokens": 30, "temperature": temperature, "eos_token_ids": ENDS}
    model.set_attn_implementation(attention)
    dynamic = sample(model, prompts, generator=generator(), **draw)
    hook = model.register_forward_pre_hook(note, with_kwargs=True)
    fixed = sample(model, prompts, generator=generator(), static_cache=True, **draw)
    hook.remove()
    model.set_attn_implementation("sdpa")
    assert fixed.completions() == dynamic.completions()
    torch.testing.assert_close(fixed.logprobs, dynamic.logprobs, atol=3e-5, rtol=0)
    assert torch.equal(fixed.ended, dynamic.ended)
    capacity = max(map(len, prompts)) + 30
    decoding = list(dict.fromkeys(shapes[1:]))
    assert len(decoding) > 1, "the seed should end half the rows before the last"
    assert decoding == [((n, 1), (n, 1), (n, 1, 1, capacity)) for n in [11, 6, 3, 2, 1][: len(decoding)]]


def test_a_static_cache_holds_the_fp32_keys_and_bf16_values_of_autocast(
    model: LlamaForCausalLM, prompts: list[list[int]]
) -> None:
    draw = {"max_new_tokens": 12, "temperature": 0.0, "eos_token_ids": ENDS}
    with torch.autocast("cpu", torch.bfloat16):
        dynamic, fixed = (sample(model, prompts, static_cache=static, **draw) for static in (False, True))
    same = [a == b for a, b in zip(dynamic.completions(), fixed.completions(), strict=True)]
    assert sum(same) >= len(same) - 1, "rounding may turn one row"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, in the modules its compiler imports
def test_a_compiled_model_samples_the_same_tokens(model: LlamaForCausalLM, prompts: list[list[int]]) -> None:
    draw = {"max_new_tokens": 8, "temperature": 1.0, "eos_token_ids": []}
    plain = sample(model, prompts, generator=generator(), **draw)
    compiled = copy.deepcopy(model)
    compiled.compile(dynamic=False)
    torch._dynamo.utils.counters.clear()
    got = sample(compiled, prompts, generator=generator(), static_cache=True, **draw)
    assert got.completions() == plain.completions()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2, "one for the prompts, one for every token"


def test_models_without_plain_attention_refuse_a_static_cache(prompts: list[list[int]]) -> None:
    sizes = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    sliding = Gemma2ForCausalLM(Gemma2Config(num_key_value_heads=1, head_dim=8, intermediate_size=32, **sizes))
    alibi = AutoModelForCausalLM.from_config(FalconConfig(alibi=True, **sizes))
    draw = {"max_new_tokens": 3, "temperature": 0.0, "eos_token_ids": [], "static_cache": True}
    with pytest.raises(ValueError, match="needs full attention in every layer; 'gemma2' has another kind"):
        sample(sliding, prompts, **draw)
    with pytest.raises(ValueError, match="needs sdpa or eager attention without ALiBi"):
        sample(alibi, prompts, **draw)


def test_rows_end_at_their_first_eos(model: LlamaForCausalLM, prompts: list[list[int]]) -> None:
    drawn = sample(model, prompts, max_new_tokens=30, temperature=1.0, eos_token_ids=ENDS, generator=generator())
    lengths = {len(c) for c in drawn.completions()}
    assert len(lengths) > 3, "the seed should give rows of different lengths"
    for tokens, ended in zip(drawn.completions(), drawn.ended.tolist(), strict=True):
        assert not set(tokens[:-1]) & set(ENDS)
        assert ended == (tokens[-1] in ENDS)
        assert ended or len(tokens) == 30


def test_a_row_does_not_depend_on_the_others(model: LlamaForCausalLM, prompts: list[list[int]]) -> None:
    draw = {"max_new_tokens": 20, "temperature": 1.0}
    alone = sample(model, prompts, eos_token_ids=[], generator=generator(3), **draw).completions()
    ending = sample(model, prompts, eos_token_ids=ENDS, generator=generator(3), **draw).completions()
    assert [full[: len(cut)] for full, cut in zip(alone, ending, strict=True)] == ending


def test_one_seed_one_sample_and_the_global_state_is_left_alone(
    model: LlamaForCausalLM, prompts: list[list[int]]
) -> None:
    before = torch.get_rng_state()
    first, again, other = (
        sample(model, prompts, max_new_tokens=9, temperature=1.0, eos_token_ids=ENDS, generator=generator(s))
        for s in (1, 1, 2)
    )
    assert first.completions() == again.completions() != other.completions()
    assert torch.equal(before, torch.get_rng_state())


def test_first_tokens_follow_the_models_distribution(model: LlamaForCausalLM, prompts: list[list[int]]) -> None:
    n, temperature = 4000, 1.7
    drawn = sample(
        model, [prompts[0]] * n, max_new_tokens=1, temperature=temperature, eos_token_ids=[], generator=generator(5)
    )
    with torch.no_grad():
        logits = model(torch.tensor([prompts[0]])).logits[0, -1].double()
    expected = (logits / temperature).softmax(-1).numpy() * n
    counts = np.bincount(drawn.tokens[:, 0].numpy(), minlength=len(expected))
    common = expected >= 5
    observed, wanted = (np.append(x[common], x[~common].sum()) for x in (counts, expected))
    assert stats.chisquare(observed, wanted).pvalue > 1e-3


def test_a_stop_ends_its_row_only(model: LlamaForCausalLM, prompts: list[list[int]]) -> None:
    draw = {"max_new_tokens": 12, "temperature": 1.0, "eos_token_ids": []}
    free = sample(model, prompts, generator=generator(), **draw).completions()
    mark = free[2][4]
    stopped = sample(model, prompts, generator=generator(), stop=lambda tokens: tokens[-1] == mark, **draw)
    for full, cut in zip(free, stopped.completions(), strict=True):
        assert cut == (full[: full.index(mark) + 1] if mark in full else full)


def test_impossible_tokens_are_never_drawn() -> None:
    """Both ends of the uniform's range [0, 1) fall on tokens of probability above 0."""
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]]).repeat(3, 1)
    tokens, logprobs = draw(logits, 1.0, torch.tensor([0.0, 0.5, 1 - 2**-53], dtype=torch.float64))
    assert tokens.tolist() == [1, 3, 3]
    assert logprobs.exp().tolist() == pytest.approx([0.5] * 3)


@pytest.mark.parametrize(("prompts_given", "new"), [([], 3), ([[1], []], 3), ([[1]], 0)])
def test_nothing_to_sample_is_an_error(model: LlamaForCausalLM, prompts_given: list[list[int]], new: int) -> None:
    with pytest.raises(ValueError, match="sampling needs a prompt"):
        sample(model, prompts_given, max_new_tokens=new, temperature=1.0, eos_token_ids=[EOS])


def test_a_nucleus_holds_the_fewest_tokens_that_reach_top_p() -> None:
    """Probabilities .5, .3, .15, .05: at top_p .7 the first two remain, at 5/8 and 3/8."""
    logits = torch.tensor([[0.15, 0.5, 0.05, 0.3]]).log()
    uniform = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    tokens, logprobs = draw(logits.expand(1000, -1), 1.0, uniform, 0.7)
    counts = torch.bincount(tokens, minlength=4).tolist()
    assert counts == [0, 625, 0, 375]
    assert logprobs[tokens == 1][0].exp().item() == pytest.approx(0.625, abs=1e-6)
    assert logprobs[tokens == 3][0].exp().item() == pytest.approx(0.375, abs=1e-6)


def test_a_nucleus_of_everything_is_the_whole_distribution() -> None:
    logits = torch.randn(1, 40, generator=generator())
    uniform = torch.rand(2000, dtype=torch.float64, generator=generator(1))
    tokens, logprobs = draw(logits.expand(2000, -1), 1.0, uniform, 1.0 - 1e-12)
    assert len(set(tokens.tolist())) > 30
    expected = torch.log_softmax(logits[0], dim=-1)[tokens]
    assert torch.allclose(logprobs, expected, atol=1e-5)
