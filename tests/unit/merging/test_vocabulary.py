"""Which token gets which id, and where its row is: against tokenizers of a few tokens."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from bai_sweep.merging.vocabulary import _plan, plan_vocabulary
from bai_sweep.merging.vocabulary._read import fingerprint, may_reach, read_vocabulary
from bai_sweep.records import UserError
from tests.unit.merging.vocabulary_helpers import save_tokenizer

AB = {"a": 0, "b": 1}


def bpe(text: str, folder: Path, *added: str) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer trained on a text."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.train_from_iterator([text], trainers.BpeTrainer(vocab_size=300, show_progress=False))
    backend.add_special_tokens([AddedToken(token, special=True) for token in added])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=added[0] if added else None)
    tokenizer.save_pretrained(folder)
    return tokenizer


def test_a_model_without_a_tokenizer_cannot_give_the_result_one(tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    folders = {"base": save_tokenizer(tmp_path / "base", AB), "bare": tmp_path / "bare"}

    with pytest.raises(UserError, match=r"bare has none in .*: choose tokenizer=base$"):
        plan_vocabulary(folders, dict.fromkeys(folders, 4), tokenizer="bare", mode="union")
    with pytest.raises(UserError, match=r"bare has none in .*, nor has another model: save one with transformers"):
        plan_vocabulary({"bare": tmp_path / "bare"}, {"bare": 4}, tokenizer="bare", mode="union")


def test_a_tokenizer_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_tokenizer(tmp_path / "base", AB)

    def forbidden(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", forbidden)

    with pytest.raises(
        UserError, match=r"tokenizer.json: cannot be read \(Permission denied\); check its permissions"
    ):
        fingerprint(folder)


def test_the_same_files_align_row_by_row_and_no_vocabulary_is_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = {name: save_tokenizer(tmp_path / name, AB, {"<end>": 2}) for name in ("base", "one", "two")}
    monkeypatch.setattr(_plan, "read_vocabulary", lambda folder: pytest.fail(f"{folder} was parsed"))

    plan = plan_vocabulary(folders, dict.fromkeys(folders, 4), tokenizer="base", mode="union")

    assert dict(plan.maps) == {"base": None, "one": None, "two": None}
    assert (plan.rows, plan.added, plan.doubts, dict(plan.lacking)) == (4, (), (), {"base": 0, "one": 0, "two": 0})


def test_files_of_the_same_bytes_are_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {name: save_tokenizer(tmp_path / name, AB) for name in ("base", "one")}
    folders["two"] = save_tokenizer(tmp_path / "two", {**AB, "c": 2})
    parsed: list[Path] = []
    monkeypatch.setattr(_plan, "read_vocabulary", lambda folder: parsed.append(folder) or read_vocabulary(folder))

    plan_vocabulary(folders, dict.fromkeys(folders, 4), tokenizer="base", mode="union")

    assert parsed == [folders["base"], folders["two"]]


def test_a_union_numbers_new_tokens_model_by_model_in_the_order_of_their_ids(tmp_path: Path) -> None:
    folders = {
        "base": save_tokenizer(tmp_path / "base", AB),
        "one": save_tokenizer(tmp_path / "one", AB, {"<y>": 3, "<x>": 2}),
        "two": save_tokenizer(tmp_path / "two", {**AB, "<x>": 3}, {"<z>": 2}),  # <x> is as the first has it: special
    }

    plan = plan_vocabulary(folders, {"base": 2, "one": 4, "two": 4}, tokenizer="base", mode="union")

    assert [(entry.token, entry.id, entry.special) for entry in plan.added] == [
        ("<x>", 2, True),
        ("<y>", 3, True),
        ("<z>", 4, True),
    ]
    assert plan.rows == 5
    assert {name: rows.tolist() for name, rows in plan.maps.items() if rows is not None} == {
        "base": [0, 1, -1, -1, -1],
        "one": [0, 1, 2, 3, -1],
        "two": [0, 1, 3, -1, 2],
    }
    assert dict(plan.lacking) == {"base": 3, "one": 1, "two": 1}
    assert dict(plan.absent) == {2: "<x>", 3: "<y>", 4: "<z>"}


def test_the_order_of_the_models_decides_nothing_about_the_tokenizers_ids(tmp_path: Path) -> None:
    one = save_tokenizer(tmp_path / "one", {"b": 0, "a": 1, "c": 2})
    base = save_tokenizer(tmp_path / "base", AB)

    plan = plan_vocabulary({"one": one, "base": base}, {"one": 3, "base": 2}, tokenizer="base", mode="union")

    rows = plan.maps["one"]
    assert rows is not None
    assert rows.tolist() == [1, 0, 2]
    assert [entry.token for entry in plan.added] == ["c"]


def test_dropped_tokens_are_counted_and_named(tmp_path: Path) -> None:
    base = save_tokenizer(tmp_path / "base", AB)
    one = save_tokenizer(tmp_path / "one", AB, {f"<{i}>": i for i in range(2, 14)})

    plan = plan_vocabulary({"base": base, "one": one}, {"base": 4, "one": 14}, tokenizer="base", mode="tokenizer")

    assert plan.rows == 4
    assert plan.added == ()
    (doubt,) = plan.doubts
    assert "one: 12 of its tokens are not in the tokenizer of base and are dropped ('<2>', '<3>'" in doubt
    assert "'<11>', ...)" in doubt


def test_added_tokens_take_padded_rows_first(tmp_path: Path) -> None:
    base = save_tokenizer(tmp_path / "base", AB)
    one = save_tokenizer(tmp_path / "one", AB, {"<x>": 2})

    plan = plan_vocabulary({"base": base, "one": one}, {"base": 8, "one": 8}, tokenizer="base", mode="union")

    assert plan.rows == 8
    assert plan.maps["one"] is None
    rows = plan.maps["base"]
    assert rows is not None
    assert rows.tolist() == [0, 1, -1, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("current", "own", "needed", "expected"),
    [
        (151936, 151665, 151670, 151936),  # room in the padding
        (151936, 151665, 151937, 152064),  # padded to 128: 1187 of them, then 1188
        (50304, 50277, 50305, 50432),
        (96, 90, 97, 128),  # padded to 32
        (32000, 32000, 32002, 32002),  # not padded
        (51, 50, 52, 52),  # an odd row more is no padding to a multiple
    ],
)
def test_rows_grow_by_the_multiple_that_the_source_is_padded_to(
    current: int, own: int, needed: int, expected: int
) -> None:
    assert _plan._rows(current, own, needed) == expected


def test_a_member_with_less_padding_lacks_no_token(tmp_path: Path) -> None:
    base = save_tokenizer(tmp_path / "base", AB)
    one = save_tokenizer(tmp_path / "one", AB)

    plan = plan_vocabulary({"base": base, "one": one}, {"base": 4, "one": 3}, tokenizer="base", mode="union")

    rows = plan.maps["one"]
    assert rows is not None
    assert rows.tolist() == [0, 1, 2, -1]
    assert plan.lacking == {"base": 0, "one": 0}
    assert plan.lacked("one").size == 0


def test_special_tokens_that_share_an_id_are_different_tokens(tmp_path: Path) -> None:
    base = save_tokenizer(tmp_path / "base", AB, {"<|im_end|>": 2})
    one = save_tokenizer(tmp_path / "one", AB, {"<|eot|>": 2})

    plan = plan_vocabulary({"base": base, "one": one}, {"base": 4, "one": 4}, tokenizer="base", mode="union")

    base_rows, one_rows = plan.maps["base"], plan.maps["one"]
    assert base_rows is not None
    assert one_rows is not None
    assert base_rows.tolist() == [0, 1, 2, -1]
    assert one_rows.tolist() == [0, 1, -1, 2]
    assert plan.translated("one", 2) == 3
    assert plan.translated("base", 2) == 2


def test_tokenizers_that_hardly_overlap_are_doubted_with_the_share(tmp_path: Path) -> None:
    base = save_tokenizer(tmp_path / "base", {"a": 0, "b": 1, "c": 2, "d": 3})
    one = save_tokenizer(tmp_path / "one", {"a": 0, "w": 1, "x": 2, "y": 3})

    plan = plan_vocabulary({"base": base, "one": one}, {"base": 4, "one": 4}, tokenizer="base", mode="union")

    assert any("one lacks 3 of the result's 7 tokens (43%)" in doubt for doubt in plan.doubts)
    assert any("one: 3 tokens of its own vocabulary are added to the tokenizer of base" in d for d in plan.doubts)


def test_a_model_without_a_tokenizer_has_the_named_ones(tmp_path: Path) -> None:
    base = save_tokenizer(tmp_path / "base", AB)
    (tmp_path / "one").mkdir()

    plan = plan_vocabulary(
        {"base": base, "one": tmp_path / "one"}, {"base": 2, "one": 2}, tokenizer="base", mode="union"
    )

    assert plan.maps["one"] is None
    assert plan.doubts == ("one has no tokenizer; its ids are taken to be those of base",)


def test_rows_match_what_real_tokenizers_say(tmp_path: Path) -> None:
    texts = {"base": "the cat sat on the mat " * 30, "one": "a dog and the cat ran into the fog " * 30}
    special = {"base": ("<eos>", "<think>"), "one": ("<eos>", "<tool>", "<think>")}
    tokenizers = {name: bpe(text, tmp_path / name, *special[name]) for name, text in texts.items()}
    folders = {name: tmp_path / name for name in texts}
    rows = {name: len(tokenizer) + 5 for name, tokenizer in tokenizers.items()}

    plan = plan_vocabulary(folders, rows, tokenizer="base", mode="union")

    merged = AutoTokenizer.from_pretrained(folders["base"])
    merged.add_tokens([AddedToken(entry.token, special=entry.special, normalized=False) for entry in plan.added])
    vocabulary = merged.get_vocab()
    assert set(vocabulary) == set(tokenizers["base"].get_vocab()) | set(tokenizers["one"].get_vocab())
    assert merged.get_vocab()["<think>"] == tokenizers["base"].convert_tokens_to_ids("<think>")
    for name, tokenizer in tokenizers.items():
        known = tokenizer.get_vocab()
        found = plan.maps[name]
        assert found is not None
        for token, token_id in vocabulary.items():
            assert found[token_id] == (tokenizer.convert_tokens_to_ids(token) if token in known else -1), token
    assert {entry.token for entry in plan.added if entry.special} == {"<tool>"}


class TestReading:
    """Every form in which a folder says its tokens."""

    def test_a_unigram_models_ids_are_its_places(self, tmp_path: Path) -> None:
        model = {"type": "Unigram", "vocab": [["<unk>", 0.0], ["a", -1.0], ["b", -2.0]], "unk_id": 0}
        folder = save_tokenizer(tmp_path, {}, {"<end>": 3}, model=model)

        assert dict(read_vocabulary(folder).ids) == {"<unk>": 0, "a": 1, "b": 2, "<end>": 3}

    def test_the_configurations_own_tokens_are_read_too(self, tmp_path: Path) -> None:
        folder = save_tokenizer(tmp_path, AB, {"<end>": 2})
        decoder = {"2": {"content": "<end>"}, "3": {"content": "<more>", "special": True, "lstrip": True}}
        (folder / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": decoder}))

        vocabulary = read_vocabulary(folder)

        assert dict(vocabulary.ids) == {**AB, "<end>": 2, "<more>": 3}
        assert vocabulary.added["<more>"]["lstrip"] is True
        assert [may_reach(folder, limit) for limit in (3, 4)] == [True, False]

    def test_the_configuration_tells_tokenizers_apart_whose_files_are_the_same(self, tmp_path: Path) -> None:
        plain, more = (save_tokenizer(tmp_path / name, AB) for name in ("plain", "more"))
        decoder = {"2": {"content": "<more>"}}
        (more / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": decoder}))

        assert fingerprint(plain) != fingerprint(more)

    def test_a_slow_tokenizers_two_files_are_read(self, tmp_path: Path) -> None:
        (tmp_path / "vocab.json").write_text(json.dumps(AB))
        (tmp_path / "added_tokens.json").write_text(json.dumps({"<end>": 2, "<x>": 3}))
        (tmp_path / "special_tokens_map.json").write_text(json.dumps({"eos_token": {"content": "<end>"}}))

        vocabulary = read_vocabulary(tmp_path)

        assert dict(vocabulary.ids) == {**AB, "<end>": 2, "<x>": 3}
        assert {token: entry["special"] for token, entry in vocabulary.added.items()} == {"<end>": True, "<x>": False}
        assert [may_reach(tmp_path, limit) for limit in (3, 4)] == [True, False]

    @pytest.mark.parametrize("indent", [None, 2])
    @pytest.mark.parametrize("last", ["x", "merges", 'a":99, "b', "\\"])
    def test_the_highest_id_is_found_without_parsing(self, tmp_path: Path, last: str, indent: int | None) -> None:
        vocabulary = {"merges": 3, "vocab": 4, last: 12}
        content = {"added_tokens": [{"id": 7, "content": "<x>"}], "model": {"vocab": vocabulary, "merges": ["12 13"]}}
        (tmp_path / "tokenizer.json").write_text(json.dumps(content, indent=indent))

        assert may_reach(tmp_path, 12)
        assert may_reach(tmp_path, 13) is (last == 'a":99, "b')  # taken for more than it is, never for less

    def test_added_tokens_after_the_model_may_reach_any_id(self, tmp_path: Path) -> None:
        content = {"model": {"vocab": {}, "merges": []}, "added_tokens": [{"id": 7, "content": "<x>"}]}
        (tmp_path / "tokenizer.json").write_text(json.dumps(content))

        assert may_reach(tmp_path, 7)

    def test_a_list_of_pieces_may_reach_any_id(self, tmp_path: Path) -> None:
        model = {"type": "Unigram", "vocab": [["<unk>", 0.0], ["a", -1.0]]}

        assert may_reach(save_tokenizer(tmp_path, {}, model=model), 1)

    def test_other_files_are_left_to_transformers(self, tmp_path: Path) -> None:
        words = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]", "a", "b"]
        (tmp_path / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))

        assert dict(read_vocabulary(tmp_path).ids) == {word: i for i, word in enumerate(words)}

    def test_a_broken_file_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "tokenizer.json").write_text("{")

        with pytest.raises(UserError, match=r"tokenizer\.json: this is no JSON: .*; fetch it again"):
            read_vocabulary(tmp_path)

    def test_a_file_without_a_vocabulary_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "tokenizer.json").write_text("{}")

        with pytest.raises(UserError, match=r"has model\.vocab; this one has not"):
            read_vocabulary(tmp_path)

    def test_a_tokenizer_of_the_folders_own_code_is_refused(self, tmp_path: Path) -> None:
        settings = {"tokenizer_class": "Mine", "auto_map": {"AutoTokenizer": ["mine.Mine", None]}}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
        (tmp_path / "mine.py").write_text("raise SystemExit('code from a model folder was run')")

        with pytest.raises(UserError, match="code from model folders is never run"):
            read_vocabulary(tmp_path)


def test_every_row_of_a_map_is_a_row_of_its_model(tmp_path: Path) -> None:
    base = save_tokenizer(tmp_path / "base", AB, {"<x>": 6})
    one = save_tokenizer(tmp_path / "one", {"b": 0, "a": 1}, {"<y>": 9})

    plan = plan_vocabulary({"base": base, "one": one}, {"base": 4, "one": 5}, tokenizer="base", mode="union")

    for name, count in (("base", 4), ("one", 5)):
        rows = plan.maps[name]
        assert rows is not None
        assert len(rows) == plan.rows
        held = rows[rows >= 0]
        assert np.all(held < count)
        assert len(np.unique(held)) == len(held)
