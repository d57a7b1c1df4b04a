"""Answers are kept across processes and crashes, and under keys that hold all they depend on."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from bai_sweep.evaluation._cache import ResponseCache, key_of, seed_of
from bai_sweep.evaluation._digest import model_digest
from bai_sweep.records import UserError
from tests.tiny import tiny_model


def test_what_is_kept_is_found_by_another_opener(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.sqlite"
    text, score = key_of("text", [1, 2]), key_of("score", [1, 2])
    cache = ResponseCache(path)
    cache.keep_texts({text: [5, 300_000, 7]})
    cache.keep_scores({score: (-1.25, True)})
    other = ResponseCache(path)
    assert other.texts([text, b"unknown"]) == {text: [5, 300_000, 7]}
    assert other.scores([score]) == {score: (-1.25, True)}
    assert other.texts([]) == {}


def test_more_keys_than_a_query_takes(tmp_path: Path) -> None:
    cache = ResponseCache(tmp_path / "a.sqlite")
    keys = {key_of("text", [i]): [i] for i in range(1203)}
    cache.keep_texts(keys)
    assert cache.texts(keys) == keys


def test_every_setting_is_part_of_the_key() -> None:
    keys = {
        key_of("text", [1, 2], temperature=1.0),
        key_of("text", [1, 2], temperature=0.5),
        key_of("text", [1, 2]),
        key_of("text", [1], temperature=1.0),
        key_of("score", [1, 2]),
        key_of("text", [1, 2], seed=3),
    }
    assert len(keys) == 6
    assert key_of("text", [1], a=1, b=2) == key_of("text", [1], b=2, a=1)


def test_seeds_differ_by_prompt_repeat_and_seed_and_fit_torch() -> None:
    seeds = {seed_of(seed, prompt, repeat) for seed in (0, 1) for prompt in ([1], [2]) for repeat in (0, 1)}
    assert len(seeds) == 8
    for seed in seeds:
        torch.Generator().manual_seed(seed)


def test_what_was_kept_survives_a_kill(tmp_path: Path) -> None:
    """A process that is killed right after keeping: the answer is there."""
    program = (
        "import os, pathlib, signal, sys\n"
        "from bai_sweep.evaluation._cache import ResponseCache\n"
        "cache = ResponseCache(pathlib.Path(sys.argv[1]))\n"
        "cache.keep_texts({b'k' * 32: [1, 2, 3]})\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "a.sqlite"
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert done.returncode == -9
    assert ResponseCache(path).texts([b"k" * 32]) == {b"k" * 32: [1, 2, 3]}


def test_a_broken_file_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.sqlite"
    path.write_bytes(b"no database, but long enough to be looked at as one" * 100)
    with caplog.at_level(logging.WARNING):
        cache = ResponseCache(path)
    cache.keep_texts({b"k": [1]})
    assert "is broken" in caplog.text
    assert (tmp_path / "a.broken").read_bytes().startswith(b"no database")
    assert sqlite3.connect(path).execute("SELECT count(*) FROM answers").fetchone() == (1,)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"evaluation\.cache_dir, and .* cannot be written"):
        ResponseCache(tmp_path / "file" / "a.sqlite")


def test_a_model_is_its_weights_and_not_where_they_came_from() -> None:
    model, same, other = tiny_model(seed=1), tiny_model(seed=1), tiny_model(seed=2)
    same.config._name_or_path = "/somewhere/else"
    assert model_digest(model) == model_digest(same)
    assert model_digest(model) != model_digest(other)
    with torch.no_grad():
        next(same.parameters()).view(-1)[-1] += 1e-6
    assert model_digest(model) != model_digest(same)


def test_dtype_and_configuration_are_part_of_the_model() -> None:
    def digest(model: LlamaForCausalLM) -> str:
        return model_digest(model)

    plain, scaled = tiny_model(seed=1), tiny_model(seed=1)
    scaled.config.rope_parameters = {"rope_type": "default", "rope_theta": 77.0}
    assert len({digest(plain), digest(scaled), digest(tiny_model(seed=1).to(torch.bfloat16))}) == 3


def test_a_page_that_is_damaged_later_is_noticed_and_the_file_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.sqlite"
    cache = ResponseCache(path)
    keys = {key_of("text", [i]): [i] * 200 for i in range(400)}
    cache.keep_texts(keys)
    cache.close()
    raw = bytearray(path.read_bytes())
    raw[4096 * 3 : 4096 * 40] = b"\xff" * (4096 * 37)
    path.write_bytes(raw)
    cache = ResponseCache(path)
    with caplog.at_level(logging.WARNING):
        found = cache.texts(keys)
    assert "is broken" in caplog.text
    assert all(tokens == keys[key] for key, tokens in found.items())
    cache.keep_texts({b"k": [1]})
    assert cache.texts([b"k"]) == {b"k": [1]}


def test_a_full_disk_costs_the_repetition_and_not_the_evaluation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = ResponseCache(tmp_path / "a.sqlite")
    cache._connection.execute("PRAGMA max_page_count = 4")
    with caplog.at_level(logging.WARNING):
        cache.keep_texts({key_of("text", [i]): [i] * 500 for i in range(100)})
    assert "could not be kept" in caplog.text
