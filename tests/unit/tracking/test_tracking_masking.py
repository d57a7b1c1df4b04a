"""Secrets never get out; ordinary settings stay readable."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from bai_sweep.config import parse
from bai_sweep.sources import packaged_dir
from bai_sweep.tracking import config_yaml, flatten, mask_text, masked


@pytest.mark.parametrize(
    "key",
    [
        "api_key",
        "judge.apiKey",
        "hf_token",
        "token",
        "AWS_SECRET_ACCESS_KEY",
        "db.password",
        "x.client-secret",
        "auth",
    ],
)
def test_secret_keys_are_masked(key: str) -> None:
    assert masked(key, "hush") == "***"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tokenizer", "base"),
        ("rl.max_new_tokens", 176),
        ("reward_per_token", 0.1),
        ("eos_token", "</s>"),
        ("keyboard", "us"),
        ("token", None),
        ("rl.missing_eos_penalty", 0.5),
    ],
)
def test_ordinary_keys_are_not(key: str, value: object) -> None:
    assert masked(key, value) == value


def test_a_number_may_be_a_password() -> None:
    assert masked("password", 12345) == "***"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://me:hush@host:5432/db", "postgresql://***@host:5432/db"),
        ("https://me:hu@sh@host/x", "https://***@host/x"),
        ("s3://bucket/key?X-Amz-Signature=hush&a=1", "s3://bucket/key?X-Amz-Signature=***&a=1"),
        ("python -m x --token hush alpha=0.5", "python -m x --token *** alpha=0.5"),
        ("judge.api_key=hush seed=3", "judge.api_key=*** seed=3"),
        ('{"password": "hush", "a": 1}', '{"password": "***", "a": 1}'),
        ("Authorization: Bearer hush", "Authorization: *** hush"),
        ("got hf_abcdefghijklmnopqrstuvwx", "got ***"),
    ],
)
def test_credentials_inside_texts(text: str, expected: str) -> None:
    assert mask_text(text) == expected


@pytest.mark.parametrize(
    "text", ["the key idea is: merge first", "max_new_tokens=176", "a@b.org", "sqlite:////tmp/mlflow.db", "3:4"]
)
def test_ordinary_texts_stay(text: str) -> None:
    assert mask_text(text) == text


def test_long_lines_take_no_time() -> None:
    line = "a-b_" * 50_000  # hours, were a pattern quadratic
    begun = time.perf_counter()
    assert mask_text(line) == line
    assert time.perf_counter() - begun < 5.0


def test_flatten_has_the_configs_names_and_words() -> None:
    config = {"alpha": 0.5, "rl": {"steps": 50, "critic": None, "adam_betas": [0.9, 0.95]}, "resume": False, "e": {}}
    assert flatten(config) == {
        "alpha": "0.5",
        "rl.steps": "50",
        "rl.critic": "null",
        "rl.adam_betas": "[0.9, 0.95]",
        "resume": "false",
        "e": "{}",
    }


def test_secrets_in_lists_are_masked() -> None:
    config = {"hooks": [{"token": "hush", "name": "a"}, "http://u:hush@host"], "api_keys": ["hush"]}
    assert "hush" not in str(flatten(config))
    assert "hush" not in config_yaml(config)
    assert yaml.safe_load(config_yaml(config))["hooks"][0]["name"] == "a"


def test_the_default_config_is_logged_whole() -> None:
    with initialize_config_dir(str(packaged_dir("conf")), version_base="1.3"):
        config = parse(compose("config"))
    flat = flatten(config)
    top = {"alpha", "weights.instruct", "weights.distilled", "seed", "study", "resume", "workers"}
    assert top <= set(flat)
    assert "***" not in str(flat)
    assert yaml.safe_load(config_yaml(config)) == json.loads(config.model_dump_json())


def test_config_yaml_masks_the_store(tmp_path: Path) -> None:
    assert "hush" not in config_yaml({"tracking": {"uri": "mysql://me:hush@host/db"}})
