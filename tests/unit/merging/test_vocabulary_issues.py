"""What users of mergekit met (arcee-ai/mergekit issues by number), each against our planning and reading of rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from bai_sweep.merging.vocabulary import aligned, plan_vocabulary
from tests.unit.merging.vocabulary_helpers import EMBEDDING, Held, embedding, save_tokenizer, whole

TOKENS = {f"t{i}": i for i in range(10)}


@pytest.mark.parametrize("mode", ["union", "tokenizer"])
def test_padded_rows_are_not_cut_to_the_tokenizers_length_425(tmp_path: Path, mode: str) -> None:
    """Qwen2.5's 152064 rows became the 151665 of its tokenizer."""
    base = save_tokenizer(tmp_path / "base", TOKENS)
    # saved by another version: other bytes, the same tokens
    one = save_tokenizer(tmp_path / "one", TOKENS, version="1.1")
    held = {"base": Held({EMBEDDING: embedding(0, 16)}), "one": Held({EMBEDDING: embedding(1, 16)})}

    plan = plan_vocabulary({"base": base, "one": one}, {"base": 16, "one": 16}, tokenizer="base", mode=mode)  # type: ignore[arg-type]

    values = aligned(held, plan, [EMBEDDING], missing_tokens="refuse")
    assert plan.rows == 16
    np.testing.assert_array_equal(whole(values["base"]), embedding(0, 16))
    np.testing.assert_array_equal(whole(values["one"]), embedding(1, 16))


def test_models_with_different_vocabulary_sizes_merge_by_token_47(tmp_path: Path) -> None:
    """Rows that no model has trained came out as NaN, and the merge was garbled."""
    base = save_tokenizer(tmp_path / "base", TOKENS)
    more = {f"ja{i}": i for i in range(4)} | {token: i + 4 for token, i in TOKENS.items()}
    one = save_tokenizer(tmp_path / "one", more)
    held = {"base": Held({EMBEDDING: embedding(0, 10)}), "one": Held({EMBEDDING: embedding(1, 14)})}

    plan = plan_vocabulary({"base": base, "one": one}, {"base": 10, "one": 14}, tokenizer="base", mode="union")

    values = aligned(held, plan, [EMBEDDING], missing_tokens="mean")
    ours, theirs = whole(values["base"]), whole(values["one"])
    assert np.isfinite(ours).all()
    assert np.isfinite(theirs).all()
    np.testing.assert_array_equal(ours[:10], embedding(0, 10))
    np.testing.assert_array_equal(theirs[:10], embedding(1, 14)[4:])
    np.testing.assert_array_equal(theirs[10:], embedding(1, 14)[:4])
    np.testing.assert_array_equal(ours[10:], theirs[10:])


def test_ids_beyond_the_rows_get_rows_of_their_own_428(tmp_path: Path) -> None:
    """A Yi-34B merge had tokens 64000 and 64001 and rows up to 63999, so that nothing could convert or run it."""
    folders = {name: save_tokenizer(tmp_path / name, TOKENS, {"<s>": 10, "</s>": 11}) for name in ("base", "one")}
    held = {"base": Held({EMBEDDING: embedding(0, 10)}), "one": Held({EMBEDDING: embedding(1, 12)})}

    plan = plan_vocabulary(folders, {"base": 10, "one": 12}, tokenizer="base", mode="tokenizer")

    assert plan.rows == 12
    values = aligned(held, plan, [EMBEDDING], missing_tokens="mean")
    np.testing.assert_array_equal(whole(values["base"])[10:], embedding(1, 12)[10:])
    np.testing.assert_array_equal(whole(values["one"]), embedding(1, 12))
    assert any("base: 2 tokens have ids beyond its 10 rows ('<s>', '</s>')" in doubt for doubt in plan.doubts)


def test_ids_beyond_the_rows_of_every_model_get_the_mean_row_428(tmp_path: Path) -> None:
    folders = {name: save_tokenizer(tmp_path / name, TOKENS, {"<s>": 10}) for name in ("base", "one")}
    held = {"base": Held({EMBEDDING: embedding(0, 10)}), "one": Held({EMBEDDING: embedding(1, 10)})}

    plan = plan_vocabulary(folders, {"base": 10, "one": 10}, tokenizer="base", mode="union")

    assert plan.rows == 11
    values = aligned(held, plan, [EMBEDDING], missing_tokens="mean")
    np.testing.assert_array_equal(whole(values["one"])[10], embedding(1, 10).mean(axis=0))


def test_a_tokenizer_saved_by_another_version_is_the_same_469(tmp_path: Path) -> None:
    """The tokenizers that broke had grown from 9 to 17 MB: their merges were written as pairs."""
    vocabulary = {"a": 0, "b": 1, "ab": 2}
    old = {"type": "BPE", "vocab": vocabulary, "merges": ["a b"]}
    new = {"type": "BPE", "vocab": vocabulary, "merges": [["a", "b"]]}
    base = save_tokenizer(tmp_path / "base", {}, {"<s>": 3}, model=old)
    one = save_tokenizer(tmp_path / "one", {}, {"<s>": 3}, model=new)
    before = (base / "tokenizer.json").read_bytes()

    plan = plan_vocabulary({"base": base, "one": one}, {"base": 4, "one": 4}, tokenizer="base", mode="union")

    assert dict(plan.maps) == {"base": None, "one": None}
    assert (plan.added, plan.doubts) == ((), ())
    assert (base / "tokenizer.json").read_bytes() == before


def test_special_tokens_of_a_model_are_not_lost_469(tmp_path: Path) -> None:
    """A chat model's turn markers, at other ids than in the model that gives the tokenizer."""
    base = save_tokenizer(tmp_path / "base", TOKENS, {"<s>": 10})
    chat = save_tokenizer(tmp_path / "chat", TOKENS, {"<|im_start|>": 10, "<|im_end|>": 11, "<s>": 12})

    plan = plan_vocabulary({"base": base, "chat": chat}, {"base": 16, "chat": 16}, tokenizer="base", mode="union")

    assert [(entry.token, entry.id, entry.special) for entry in plan.added] == [
        ("<|im_start|>", 11, True),
        ("<|im_end|>", 12, True),
    ]
    # the same numbers that the tokenizers library gives them
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    tokenizer.add_special_tokens([entry.token for entry in plan.added])
    assert [tokenizer.token_to_id(entry.token) for entry in plan.added] == [11, 12]
    rows = plan.maps["chat"]
    assert rows is not None
    assert rows[:13].tolist() == [*range(10), 12, 10, 11]


def test_the_tokenizers_files_are_only_read_469(tmp_path: Path) -> None:
    base = save_tokenizer(tmp_path / "base", TOKENS)
    one = save_tokenizer(tmp_path / "one", TOKENS, {"<x>": 10})
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    plan_vocabulary({"base": base, "one": one}, {"base": 12, "one": 12}, tokenizer="base", mode="union")

    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert json.loads((base / "tokenizer.json").read_text())["model"]["vocab"] == TOKENS
