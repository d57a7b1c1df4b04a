"""The tokenizer reads all the text of the testbed and writes it back unchanged."""

import random

import pytest
from transformers import PreTrainedTokenizerFast

from bai_sweep.testbed._corpora import draw_chat, plain_document
from bai_sweep.testbed._preferences import draw_preference
from bai_sweep.testbed._tokenizer import make_tokenizer
from bai_sweep.testbed._world import world


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer()


def texts() -> list[str]:
    rng = random.Random(0)
    plain = [plain_document(rng) for _ in range(500)]
    chats = [draw_chat(style, rng) for style in ("instruct", "distilled") for _ in range(200)]
    pairs = [draw_preference(rng) for _ in range(200)]
    names = [f.statement for f in world().all_facts]
    chat_texts = [text for c in chats for text in (c.prompt, c.completion)]
    return plain + names + chat_texts + [text for p in pairs for text in (p.prompt, p.chosen, p.rejected)]


def test_every_text_survives_a_round_trip(tokenizer: PreTrainedTokenizerFast) -> None:
    for text in texts():
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in ids, text
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_digits_are_tokens_of_their_own(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.tokenize("40 + 7 = 47.") == ["4", "0", "+", "7", "=", "4", "7", "."]


def test_a_word_it_does_not_know_becomes_unk(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.tokenize("tell me about zebras.")[3] == tokenizer.unk_token


def test_the_chat_template_opens_with_bos_and_closes_the_answer_with_eos(tokenizer: PreTrainedTokenizerFast) -> None:
    chat = [{"role": "user", "content": "what is 1 + 2?"}, {"role": "assistant", "content": "<think> hm"}]
    text = tokenizer.apply_chat_template(chat, tokenize=False)
    prompt = tokenizer.apply_chat_template(chat[:1], tokenize=False, add_generation_prompt=True)
    assert text == "<bos><|user|> what is 1 + 2? <|assistant|> <think> hm<eos>"
    assert prompt == "<bos><|user|> what is 1 + 2? <|assistant|>"
    assert tokenizer(text)["input_ids"][: len(tokenizer(prompt)["input_ids"])] == tokenizer(prompt)["input_ids"]


def test_the_assistant_mask_covers_the_answer_and_its_eos(tokenizer: PreTrainedTokenizerFast) -> None:
    chat = [{"role": "user", "content": "what is 1 + 2?"}, {"role": "assistant", "content": "the answer is 3."}]
    encoded = tokenizer.apply_chat_template(chat, return_dict=True, return_assistant_tokens_mask=True)
    kept = [i for i, m in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if m]
    assert tokenizer.convert_ids_to_tokens(kept) == ["the", "answer", "is", "3", ".", "<eos>"]
