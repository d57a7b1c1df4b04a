"""Aligned embeddings against a reference that goes token by token through dictionaries."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bai_sweep.merging.vocabulary import VocabularyPlan, aligned, plan_vocabulary
from bai_sweep.records import UserError
from tests.unit.merging.vocabulary_helpers import EMBEDDING, Held, embedding, save_tokenizer, whole

Floats = NDArray[np.float32]
LETTERS = "abcdefghijkl"


@st.composite
def vocabularies(draw: st.DrawFn) -> tuple[dict[str, dict[str, int]], dict[str, int]]:
    """Tokens with their ids for each of two to four models, and their rows: permuted, overlapping, padded, cut."""
    names = ["base", "one", "two", "three"][: draw(st.integers(2, 4))]
    ids, rows = {}, {}
    common = draw(st.booleans())
    for name in names:
        tokens = draw(st.lists(st.sampled_from(LETTERS), min_size=1, unique=True))
        if common:
            tokens = [*LETTERS[:4], *(t for t in tokens if t not in LETTERS[:4])]
        places = draw(st.permutations(range(len(tokens)))) if draw(st.booleans()) else range(len(tokens))
        ids[name] = dict(zip(tokens, places, strict=True))
        rows[name] = max(1, len(tokens) + draw(st.integers(-2, 6)))
    return ids, rows


def planned(
    ids: Mapping[str, Mapping[str, int]], rows: Mapping[str, int], tokenizer: str, mode: Literal["union", "tokenizer"]
) -> VocabularyPlan:
    with tempfile.TemporaryDirectory() as place:
        folders = {name: save_tokenizer(Path(place) / name, of_one) for name, of_one in ids.items()}
        return plan_vocabulary(folders, rows, tokenizer=tokenizer, mode=mode)


def reference(
    ids: Mapping[str, Mapping[str, int]],
    held: Mapping[str, Floats],
    target: Mapping[str, int],
    total: int,
    *,
    zero: bool,
) -> dict[str, list[Floats]]:
    """Row by row, from dictionaries."""
    names = {token_id: token for token, token_id in target.items()}
    found: dict[str, list[Floats]] = {model: [] for model in held}
    for row in range(total):
        have = {}
        for model, table in held.items():
            at = ids[model].get(names[row]) if row in names else None
            if row not in names and row not in ids[model].values():
                at = row
            if at is not None and at < len(table):
                have[model] = table[at]
        for model, table in held.items():
            if model in have:
                found[model].append(have[model])
            elif zero and row in names:
                found[model].append(np.zeros_like(table[0]))
            elif have:
                total_row = np.zeros_like(table[0])
                for value in have.values():
                    total_row = total_row + value
                found[model].append(total_row / np.float32(len(have)))
            else:
                found[model].append(table.astype(np.float64).mean(axis=0).astype(np.float32))
    return found


@given(
    case=vocabularies(),
    mode=st.sampled_from(["union", "tokenizer"]),
    zero=st.booleans(),
    block=st.integers(1, 40),
    which=st.integers(0, 3),
    unread=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_every_row_is_what_the_token_says(  # noqa: PLR0917
    case: tuple[dict[str, dict[str, int]], dict[str, int]],
    mode: Literal["union", "tokenizer"],
    zero: bool,
    block: int,
    which: int,
    unread: bool,
) -> None:
    ids, rows = case
    tokenizer = list(ids)[which % len(ids)]
    plan = planned(ids, rows, tokenizer, mode)
    read = [name for name in ids if not (unread and name == tokenizer)]
    held = {name: embedding(i + 1, rows[name]) for i, name in enumerate(read)}

    values = aligned(
        {name: Held({EMBEDDING: table}) for name, table in held.items()},
        plan,
        [EMBEDDING],
        missing_tokens="zero" if zero else "mean",
    )

    target = dict(ids[tokenizer]) | {entry.token: entry.id for entry in plan.added}
    expected = reference(ids, held, target, plan.rows, zero=zero)
    for name in held:
        assert values[name].specs[EMBEDDING].shape == (plan.rows, 3)
        np.testing.assert_array_equal(whole(values[name], block=block), np.array(expected[name]), err_msg=name)


@given(case=vocabularies(), which=st.integers(0, 3))
@settings(max_examples=200, deadline=None)
def test_a_union_has_every_token_once_and_moves_none_of_the_tokenizers(
    case: tuple[dict[str, dict[str, int]], dict[str, int]], which: int
) -> None:
    ids, rows = case
    tokenizer = list(ids)[which % len(ids)]

    plan = planned(ids, rows, tokenizer, "union")

    new = [entry.token for entry in plan.added]
    assert sorted([*ids[tokenizer], *new]) == sorted({token for tokens in ids.values() for token in tokens})
    assert [entry.id for entry in plan.added] == [len(ids[tokenizer]) + i for i in range(len(new))]
    assert plan.rows >= max(rows[tokenizer], len(ids[tokenizer]) + len(new))
    own = plan.maps[tokenizer]
    for token_id in ids[tokenizer].values():
        if token_id < rows[tokenizer]:
            assert own is None or own[token_id] == token_id


def lacking_two(tmp_path: Path) -> tuple[VocabularyPlan, dict[str, Held]]:
    """`base` lacks two tokens that `one` and `two` have, `two` at other ids."""
    folders = {
        "base": save_tokenizer(tmp_path / "base", {"a": 0, "b": 1}),
        "one": save_tokenizer(tmp_path / "one", {"a": 0, "b": 1, "<x>": 2, "<y>": 3}),
        "two": save_tokenizer(tmp_path / "two", {"a": 0, "b": 1, "<y>": 2, "<x>": 3}),
    }
    rows = {"base": 2, "one": 4, "two": 4}
    tables = {name: embedding(i, rows[name]) for i, name in enumerate(rows)}
    plan = plan_vocabulary(folders, rows, tokenizer="one", mode="union")
    names = {EMBEDDING: tables, "lm_head.weight": {n: -t for n, t in tables.items()}}
    names["lm_head.bias"] = {n: t[:, 0] for n, t in tables.items()}
    held = {n: Held({name: table[n] for name, table in names.items()} | {"norm": tables[n][0]}) for n in rows}
    return plan, held


def test_heads_and_biases_are_aligned_like_embeddings_and_other_tensors_are_not(tmp_path: Path) -> None:
    plan, held = lacking_two(tmp_path)

    values = aligned(held, plan, [EMBEDDING, "lm_head.weight", "lm_head.bias"], missing_tokens="mean")

    bias = whole(values["base"], "lm_head.bias")
    assert bias.tolist() == [0.0, 1.0, (1002 + 2003) / 2, (1003 + 2002) / 2]
    head = whole(values["base"], "lm_head.weight")
    np.testing.assert_array_equal(head[:, 0], -bias)
    np.testing.assert_array_equal(whole(values["base"])[:, 0], bias)
    assert whole(values["base"], "norm").tolist() == embedding(0, 1)[0].tolist()


def test_missing_tokens_may_be_refused_with_their_names(tmp_path: Path) -> None:
    plan, held = lacking_two(tmp_path)

    with pytest.raises(UserError, match=r"(?s)missing_tokens=refuse.*base lacks 2 tokens: '<x>', '<y>'$"):
        aligned(held, plan, [EMBEDDING], missing_tokens="refuse")


def test_missing_padding_is_not_refused(tmp_path: Path) -> None:
    folders = {name: save_tokenizer(tmp_path / name, {"a": 0}) for name in ("base", "one")}
    plan = plan_vocabulary(folders, {"base": 4, "one": 2}, tokenizer="base", mode="union")
    held = {"base": Held({EMBEDDING: embedding(0, 4)}), "one": Held({EMBEDDING: embedding(1, 2)})}

    values = aligned(held, plan, [EMBEDDING], missing_tokens="refuse")

    assert whole(values["one"])[:, 0].tolist() == [1000.0, 1001.0, 2.0, 3.0]


def test_rows_in_place_are_read_in_one_piece(tmp_path: Path) -> None:
    tokens = {str(i): i for i in range(500)}
    folders = {
        "base": save_tokenizer(tmp_path / "base", tokens),
        "one": save_tokenizer(tmp_path / "one", {**tokens, "<x>": 500}),
    }
    plan = plan_vocabulary(folders, {"base": 500, "one": 501}, tokenizer="one", mode="union")
    held = {"base": Held({EMBEDDING: embedding(0, 500)}), "one": Held({EMBEDDING: embedding(1, 501)})}

    values = aligned(held, plan, [EMBEDDING], missing_tokens="mean")
    found = whole(values["base"])

    assert values["one"] is held["one"]
    np.testing.assert_array_equal(found, [*embedding(0, 500), embedding(1, 501)[500]])
    assert (held["base"].reads, held["one"].reads) == (1, 1)


def test_threads_read_the_same_rows(tmp_path: Path) -> None:
    ids = {"base": {t: i for i, t in enumerate(LETTERS)}, "one": {t: i for i, t in enumerate("lkjihgfedcb")}}
    plan = planned(ids, {"base": 12, "one": 11}, "base", "union")
    held = {"one": Held({EMBEDDING: embedding(1, 11)})}
    values = aligned(held, plan, [EMBEDDING], missing_tokens="mean")["one"]

    def read(start: int) -> Floats:
        part = np.empty(4, dtype=np.float32)
        values.read(EMBEDDING, start, part)
        return part

    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(read, [i % 33 for i in range(400)]))

    expected = whole(values).reshape(-1)
    for i, part in enumerate(parts):
        np.testing.assert_array_equal(part, expected[i % 33 : i % 33 + 4])
