"""Token scores against the model's full forward pass in float64."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaForCausalLM,
    PreTrainedModel,
)

from bai_sweep.generation import TokenScorer, pad_right
from bai_sweep.generation._scoring import KEPT_CHUNKS

ROWS = [[7, 8, 9, 10, 11, 12], [13, 14], [15, 16, 17, 18]]
WHERE = [(r, p) for r, row in enumerate(ROWS) for p in range(len(row) - 1)]
CPU = torch.device("cpu")


def arguments() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    rows, positions = torch.tensor(WHERE).T
    return pad_right(ROWS, device=CPU), rows, positions, torch.tensor([ROWS[r][p + 1] for r, p in WHERE])


def expected(model: PreTrainedModel, temperature: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Row by row without padding, log-softmax in fp64."""
    logprobs, entropies, greedy = [], [], []
    for row in ROWS:
        logits = model(torch.tensor([row])).logits[0, :-1].double() / temperature
        table = logits - logits.logsumexp(-1, keepdim=True)
        logprobs.append(table[torch.arange(len(row) - 1), row[1:]])
        entropies.append(-(table.exp() * table).sum(-1))
        greedy.append(table.argmax(-1) == torch.tensor(row[1:]))
    return torch.cat(logprobs), torch.cat(entropies), torch.cat(greedy)


def gpt2() -> PreTrainedModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2, initializer_range=0.3)).eval()


def gemma2() -> PreTrainedModel:
    """Caps its logits after the head, which the head alone does not show."""
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=40, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, final_logit_softcapping=2.0, initializer_range=0.5,
    )  # fmt: skip
    return Gemma2ForCausalLM(config).eval()


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2"])
def test_scores_match_the_full_forward_pass(model: LlamaForCausalLM, kind: str, temperature: float) -> None:
    chosen = {"llama": lambda: model, "gpt2": gpt2, "gemma2": gemma2}[kind]()
    scorer = TokenScorer(chosen)
    assert scorer.plain == (kind != "gemma2")
    with torch.no_grad():
        scores = scorer.score(*arguments(), temperature=temperature, entropy=True, greedy=True)
        logprobs, entropies, greedy = expected(chosen, temperature)
    torch.testing.assert_close(scores.logprobs.double(), logprobs, atol=1e-5, rtol=0)
    assert scores.entropies is not None
    torch.testing.assert_close(scores.entropies.double(), entropies, atol=1e-5, rtol=0)
    assert scores.greedy is not None
    assert torch.equal(scores.greedy, greedy)


def gradients(model: PreTrainedModel, loss: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters())))


@pytest.mark.parametrize("tokens", [1, 3], ids=["made again", "kept"])
def test_chunks_change_neither_scores_nor_gradients(model: LlamaForCausalLM, tokens: int) -> None:
    assert (len(WHERE) > tokens * KEPT_CHUNKS) == (tokens == 1)
    scorer = TokenScorer(model)
    whole = scorer.score(*arguments()).logprobs
    in_chunks = scorer.score(*arguments(), chunk_logits=tokens * 40).logprobs
    torch.testing.assert_close(whole, in_chunks, atol=1e-6, rtol=0)
    weights = torch.linspace(-1, 1, len(whole))
    reference = expected(model, 1.0)[0]
    wanted = gradients(model, (reference * weights).sum())
    for got in (whole, in_chunks):
        for ours, theirs in zip(gradients(model, (got * weights).sum()), wanted, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("chunk_logits", [40, 2**20])
def test_entropies_carry_gradient_when_asked(model: LlamaForCausalLM, chunk_logits: int) -> None:
    asked: dict[str, Any] = {"entropy": True, "chunk_logits": chunk_logits, "temperature": 0.7}
    scores = TokenScorer(model).score(*arguments(), entropy_grad=True, **asked)
    assert scores.entropies is not None
    loss, wanted = ((e.double() + 2 * lp).sum() for e, lp in ((scores.entropies, scores.logprobs), _two(model)))
    for ours, theirs in zip(gradients(model, loss), gradients(model, wanted), strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)
    held = TokenScorer(model).score(*arguments(), **asked).entropies
    assert held is not None
    assert not held.requires_grad
    torch.testing.assert_close(held, scores.entropies.detach(), atol=1e-6, rtol=0)


def _two(model: PreTrainedModel) -> tuple[torch.Tensor, torch.Tensor]:
    logprobs, entropies, _ = expected(model, 0.7)
    return entropies, logprobs


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft 0.21 asks it
def test_a_model_with_lora_is_scored_with_and_without_its_adapter() -> None:
    torch.manual_seed(0)
    base = gpt2()
    wanted = expected(base, 1.0)[0].detach()
    adapted = get_peft_model(base, LoraConfig(r=4, target_modules=["c_attn"], fan_in_fan_out=True))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    assert base is adapted.get_base_model()
    scorer = TokenScorer(base)  # the layers of LoRA stand in it
    assert scorer.plain
    got = scorer.score(*arguments()).logprobs
    torch.testing.assert_close(got.double(), expected(base, 1.0)[0], atol=1e-5, rtol=0)
    assert (got - wanted).abs().max() > 0.01
    got.sum().backward()
    assert {name for name, p in adapted.named_parameters() if p.grad is not None} == {
        name for name, _ in adapted.named_parameters() if "lora_" in name
    }
    with torch.no_grad(), adapted.disable_adapter():
        off = scorer.score(*arguments()).logprobs
    torch.testing.assert_close(off.double(), wanted, atol=1e-5, rtol=0)


def test_padding_is_never_seen(model: LlamaForCausalLM) -> None:
    input_ids, *rest = arguments()
    scorer = TokenScorer(model)
    other = input_ids.clone()
    for r, row in itertools.product(range(len(ROWS)), [ROWS]):
        other[r, len(row[r]) :] = 39
    with torch.no_grad():
        assert torch.equal(scorer.score(input_ids, *rest).logprobs, scorer.score(other, *rest).logprobs)
