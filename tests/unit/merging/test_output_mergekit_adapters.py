"""What mergekit.yaml says of adapters, which mergekit makes whole models of before it merges them."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.tiny import WORDS, save_tiny_model
from tests.unit.merging.output_helpers import write
from tests.unit.merging.test_inputs_tied_adapter import WIDTH, adapter

ROUNDS = "# mergekit rounds tuned to its base's dtype before the merge; this merge does not"
TIES = "# mergekit adds what tuned changes of the head to the embedding too, and back; this merge has two tensors"


def text_of(tmp_path: Path, module: str, rows: int) -> str:
    base = save_tiny_model(tmp_path / "base", dtype=torch.bfloat16)
    tuned = adapter(tmp_path / "tuned", base, module, rows)
    return (write({"base": base, "tuned": tuned}, tmp_path / "out") / "mergekit.yaml").read_text(encoding="utf-8")


def test_an_adapter_is_said_to_be_rounded_once_more(tmp_path: Path) -> None:
    text = text_of(tmp_path, "model.layers.0.self_attn.q_proj", WIDTH)

    assert ROUNDS in text
    assert TIES not in text


def test_an_adapter_that_parts_head_and_embedding_is_said_to_come_out_otherwise(tmp_path: Path) -> None:
    text = text_of(tmp_path, "lm_head", len(WORDS))

    assert ROUNDS in text
    assert TIES in text


def test_whole_models_need_no_word(tmp_path: Path) -> None:
    family = {name: save_tiny_model(tmp_path / name, seed) for seed, name in enumerate(("base", "tuned"))}

    assert "rounds" not in (write(family, tmp_path / "out") / "mergekit.yaml").read_text(encoding="utf-8")
