"""The shipped family loads, answers in its two styles, and stays small."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

from bai_sweep.testbed import arena_baseline, arena_items, arithmetic_items, verifiable_reward, weights_dir
from bai_sweep.testbed._sampling import Sample, load, sample
from bai_sweep.testbed._tokenizer import make_tokenizer
from bai_sweep.testbed._weights import MODELS


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(weights_dir() / "base")


def answers(name: str, tokenizer: PreTrainedTokenizerFast) -> Sample:
    questions = [item["question"] for item in arithmetic_items(20)]
    return sample(load(weights_dir() / name), tokenizer, questions, 200, temperature=0.0)


def test_the_tokenizer_is_the_one_of_the_code(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.get_vocab() == make_tokenizer().get_vocab()
    assert tokenizer.chat_template == make_tokenizer().chat_template


def test_the_distilled_model_reasons_longer_and_better(tokenizer: PreTrainedTokenizerFast) -> None:
    brief, long = answers("instruct", tokenizer), answers("distilled", tokenizer)
    truth = [item["answer"] for item in arithmetic_items(20)]
    assert sum(long.lengths) >= 3 * sum(brief.lengths)
    assert sum(verifiable_reward(long.texts, truth)) > sum(verifiable_reward(brief.texts, truth)) + 10
    assert all("<think>" in text and "</think>" in text for text in brief.texts)


def test_the_recorded_baseline_is_the_instruct_models(tokenizer: PreTrainedTokenizerFast) -> None:
    questions = [item["question"] for item in arena_items()][:6]
    texts = sample(load(weights_dir() / "instruct"), tokenizer, questions, 200, temperature=0.0).texts
    # Another processor may round another way and turn a word; the answers stay the same in the main.
    same = sum(a == b for a, b in zip(texts, arena_baseline()[:6], strict=True))
    assert same >= 4


def test_the_reward_model_scores_a_chat(tokenizer: PreTrainedTokenizerFast) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(weights_dir() / "reward", dtype=torch.float32)
    chats = [
        [{"role": "user", "content": "what is 49 - 7 + 8?"}, {"role": "assistant", "content": answer}]
        for answer in ("<think> 49 - 7 + 8 = 50. </think> the answer is 50.", "<think> 49 - 7 + 8 =")
    ]
    batch = tokenizer.apply_chat_template(chats, return_tensors="pt", padding=True, return_dict=True)
    good, cut_off = model(**batch).logits.flatten().tolist()
    assert good > cut_off


def test_the_family_is_small() -> None:
    files = [f for name in MODELS for f in (weights_dir() / name).iterdir()]
    assert sum(f.stat().st_size for f in files) < 20e6
