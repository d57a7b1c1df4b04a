"""Finished folders of models whose tokenizers differ: what mergekit's issues #47, #425, #428 and #469 saw go wrong.

#47: models of different vocabulary sizes gave garbled text. #425: an embedding was cut down to the tokenizer's size.
#428: the tokenizer had ids that the embedding had no row for. #469: a tokenizer that was loaded and saved on the way
came out in a form that other programs could not read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from bai_sweep.merging.output._tokenizer import add_tokens
from bai_sweep.merging.vocabulary import AddedToken as Planned
from bai_sweep.records import UserError
from tests.tiny import WORDS, save_tiny_model, tiny_model, tiny_tokenizer
from tests.unit.merging.output_helpers import tensors_in, write

CHAT = [{"role": "user", "content": "1 + 2 = ?"}]
END, TOOL, PLAIN = "<|im_end|>", "<tool>", "hello"


def save_model_with(folder: Path, added: Sequence[AddedToken], *, rows: int, seed: int, **config: Any) -> Path:
    """A model of `rows` rows whose tokenizer has more tokens than the tiny one."""
    tiny_model(seed, vocab_size=rows, **config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer = tiny_tokenizer()
    for token in added:
        tokenizer.add_tokens(token, special_tokens=token.special)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def family(tmp_path: Path) -> dict[str, Path]:
    """A base padded to 48 rows, and two models with tokens of their own under the same ids."""
    end, tool = AddedToken(END, special=True), AddedToken(TOOL, special=True)
    count = len(WORDS)
    return {
        "base": save_tiny_model(tmp_path / "base", vocab_size=48),
        "chat": save_model_with(
            tmp_path / "chat", [end, AddedToken(PLAIN, normalized=False)], rows=count + 2, seed=1, eos_token_id=count
        ),
        "agent": save_model_with(tmp_path / "agent", [tool, end], rows=64, seed=2, eos_token_id=count + 1),
    }


def test_a_union_has_every_token_once_under_an_id_with_a_row(family: dict[str, Path], tmp_path: Path) -> None:
    folder = write(family, tmp_path / "out", dtype="BF16")

    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = tensors_in(folder)["model.embed_tokens.weight"].shape[0]
    vocabulary = tokenizer.get_vocab()
    assert {*WORDS, END, TOOL, PLAIN} == set(vocabulary)
    assert len(set(vocabulary.values())) == len(vocabulary)
    assert max(vocabulary.values()) < rows
    assert json.loads((folder / "config.json").read_text())["vocab_size"] == rows
    recorded = json.loads((folder / "merge.json").read_text())["vocabulary"]
    assert recorded["rows"] == rows
    assert {row["token"]: row["id"] for row in recorded["added"]} == {t: vocabulary[t] for t in (END, TOOL, PLAIN)}
    assert [vocabulary[word] for word in WORDS] == list(range(len(WORDS)))


def test_an_added_token_is_one_token_and_special_ones_stay_special(family: dict[str, Path], tmp_path: Path) -> None:
    folder = write(family, tmp_path / "out")

    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in (END, TOOL, PLAIN)}
    for token, token_id in ids.items():
        assert tokenizer(f"a{token}b", add_special_tokens=False)["input_ids"] == [5, token_id, 6]
        assert tokenizer.decode([token_id]) == token
    assert tokenizer.decode([5, ids[END], ids[TOOL], ids[PLAIN]], skip_special_tokens=True).split() == ["a", PLAIN]


def test_a_row_is_the_merge_of_the_rows_of_the_same_token(family: dict[str, Path], tmp_path: Path) -> None:
    folder = write(family, tmp_path / "out", dtype="F32")

    name = "model.embed_tokens.weight"
    found = tensors_in(folder)[name]
    base, chat, agent = (tensors_in(place)[name].double() for place in family.values())
    ids = AutoTokenizer.from_pretrained(folder).get_vocab()
    count = len(WORDS)
    # base has neither token: it takes the mean of those that do
    both, one = (chat[count] + agent[count + 1]) / 2, agent[count]
    expected = {"a": 0.5 * base[5] + 0.25 * chat[5] + 0.25 * agent[5], END: both, TOOL: one, PLAIN: chat[count + 1]}
    for token, row in expected.items():
        torch.testing.assert_close(found[ids[token]].double(), row, rtol=0, atol=1e-7, msg=token)


def test_every_models_end_is_translated_to_the_results_ids(family: dict[str, Path], tmp_path: Path) -> None:
    folder = write(family, tmp_path / "out")

    end = AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids(END)
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == sorted([2, end])


@pytest.mark.parametrize("vocabulary", ["union", "tokenizer"])
@pytest.mark.parametrize("tokenizer", ["base", "chat", "agent"])
def test_the_result_chats_and_generates(
    family: dict[str, Path], tmp_path: Path, tokenizer: str, vocabulary: str
) -> None:
    folder = write(family, tmp_path / "out", tokenizer=tokenizer, vocabulary=vocabulary)

    words = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    prompt = words.apply_chat_template(CHAT, return_tensors="pt", return_dict=True)
    reply = model.generate(**prompt, max_new_tokens=8, do_sample=False)
    assert model(reply).logits.isfinite().all()
    assert words.decode(reply[0]).startswith("<bos>")
    assert max(words.get_vocab().values()) < model.config.vocab_size == model.get_input_embeddings().weight.shape[0]


def test_padded_rows_are_kept(tmp_path: Path) -> None:
    family = {name: save_tiny_model(tmp_path / name, seed, vocab_size=64) for seed, name in enumerate(["base", "a"])}

    folder = write(family, tmp_path / "out")

    assert tensors_in(folder)["model.embed_tokens.weight"].shape == (64, 32)
    assert json.loads((folder / "config.json").read_text())["vocab_size"] == 64


def test_a_tokenizer_that_gets_no_token_is_the_same_bytes(family: dict[str, Path], tmp_path: Path) -> None:
    folder = write(family, tmp_path / "out", tokenizer="agent", vocabulary="tokenizer")

    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (folder / name).read_bytes() == (family["agent"] / name).read_bytes()


def test_a_tokenizer_that_gets_tokens_keeps_its_form(family: dict[str, Path], tmp_path: Path) -> None:
    """As an older transformers wrote it: the added tokens once more in two other files, the class by its old name."""
    settings = json.loads((family["base"] / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "PreTrainedTokenizerFast", "added_tokens_decoder": {}, "kept": [1]}
    (family["base"] / "tokenizer_config.json").write_text(json.dumps(settings))
    (family["base"] / "added_tokens.json").write_text("{}")

    folder = write(family, tmp_path / "out")

    before, after = (json.loads((place / "tokenizer.json").read_text()) for place in (family["base"], folder))
    assert after["added_tokens"][: len(before["added_tokens"])] == before["added_tokens"]
    assert {**after, "added_tokens": 0} == {**before, "added_tokens": 0}
    config = json.loads((folder / "tokenizer_config.json").read_text())
    added = json.loads((folder / "added_tokens.json").read_text())
    assert {k: v for k, v in config.items() if k != "added_tokens_decoder"} == {
        k: v for k, v in settings.items() if k != "added_tokens_decoder"
    }
    assert {entry["content"]: int(i) for i, entry in config["added_tokens_decoder"].items()} == added
    assert set(added) == {END, TOOL, PLAIN}
    assert config["added_tokens_decoder"][str(added[END])]["special"] is True
    assert config["added_tokens_decoder"][str(added[PLAIN])]["special"] is False


def test_a_tokenizer_without_tokenizer_json_gets_its_tokens_too(tmp_path: Path) -> None:
    words = {word: index for index, word in enumerate(["<|endoftext|>", "a", "b", "ab", "\u0120"])}
    (tmp_path / "vocab.json").write_text(json.dumps(words))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer"}))

    add_tokens(tmp_path, [Planned("<y>", 6, special=False), Planned("<x>", 5, special=True)])

    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer("ab<x>a<y>")["input_ids"] == [3, 5, 1, 6]
    assert tokenizer.decode([3, 5, 6], skip_special_tokens=True) == "ab<y>"


def test_an_id_that_the_tokenizer_cannot_give_is_refused(tmp_path: Path) -> None:
    tiny_tokenizer().save_pretrained(tmp_path)

    with pytest.raises(UserError, match=r"'<x>': 46, planned 60; merge with vocabulary=tokenizer"):
        add_tokens(tmp_path, [Planned("<x>", 60, special=True)])


def test_the_settings_of_an_added_token_travel(tmp_path: Path) -> None:
    tiny_tokenizer().save_pretrained(tmp_path)

    add_tokens(tmp_path, [Planned("<x>", 46, special=False, lstrip=True, rstrip=True, single_word=True)])

    token = Tokenizer.from_file(str(tmp_path / "tokenizer.json")).get_added_tokens_decoder()[46]
    assert (token.lstrip, token.rstrip, token.single_word, token.normalized, token.special) == (
        True,
        True,
        True,
        False,
        False,
    )
