"""Whether a token's id reaches beyond the rows, in files that another program has written."""

from __future__ import annotations

import json
from pathlib import Path

from bai_sweep.merging.vocabulary import plan_vocabulary
from bai_sweep.merging.vocabulary._read import may_reach
from tests.unit.merging.vocabulary_helpers import save_tokenizer


def test_ids_are_found_in_a_file_with_its_keys_sorted(tmp_path: Path) -> None:
    folders = {name: save_tokenizer(tmp_path / name, {f"t{i}": i for i in range(12)}) for name in ("base", "a")}
    for folder in folders.values():
        content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        content["model"]["merges"] = [["vocab", "t1"]]
        (folder / "tokenizer.json").write_text(json.dumps(content, sort_keys=True), encoding="utf-8")

    plan = plan_vocabulary(folders, {"base": 8, "a": 12}, tokenizer="a", mode="union")

    assert plan.lacking == {"base": 4, "a": 0}
    assert not plan.padded.any()


def test_a_token_spelt_like_a_key_among_the_merges_costs_no_parsing(tmp_path: Path) -> None:
    folder = save_tokenizer(tmp_path, {"vocab": 0, "t1": 1})
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    content["model"]["merges"] = [["vocab", "t1"]]
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")

    assert not may_reach(folder, 2)
