"""Token scores against the model's full forward pass in float64."""

from __future__ import annotations

import itertools

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaForCausalLM,
    PreTrainedModel,
)

from bai_sweep.generation import TokenScorer, pad_right

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
        scores = scorer.score(*arguments(), temperature=temperature, entropy=True)
        logprobs, entropies, greedy = expected(chosen, temperature)
    torch.testing.assert_close(scores.logprobs.double(), logprobs, atol=1e-5, rtol=0)
    assert scores.entropies is not None
    torch.testing.assert_close(scores.entropies.double(), entropies, atol=1e-5, rtol=0)
    assert torch.equal(scores.greedy, greedy)


def gradients(model: PreTrainedModel, loss: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters())))


def test_chunks_change_neither_scores_nor_gradients(model: LlamaForCausalLM) -> None:
    scorer = TokenScorer(model)
    whole = scorer.score(*arguments()).logprobs
    in_chunks = scorer.score(*arguments(), chunk_logits=3 * 40).logprobs
    torch.testing.assert_close(whole, in_chunks, atol=1e-6, rtol=0)
    weights = torch.linspace(-1, 1, len(whole))
    reference = expected(model, 1.0)[0]
    wanted = gradients(model, (reference * weights).sum())
    for got in (whole, in_chunks):
        for ours, theirs in zip(gradients(model, (got * weights).sum()), wanted, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_padding_is_never_seen(model: LlamaForCausalLM) -> None:
    input_ids, *rest = arguments()
    scorer = TokenScorer(model)
    other = input_ids.clone()
    for r, row in itertools.product(range(len(ROWS)), [ROWS]):
        other[r, len(row[r]) :] = 39
    with torch.no_grad():
        assert torch.equal(scorer.score(input_ids, *rest).logprobs, scorer.score(other, *rest).logprobs)
