"""docs/ppo.md: its code runs as it stands, and its tables say what the settings are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from transformers import AutoModelForCausalLM

from bai_sweep.ppo import PPOConfig

DOC = Path(__file__).parents[2] / "docs" / "ppo.md"
TEXT = DOC.read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
FIELDS = set(PPOConfig.model_fields) - {"kind", "name", "output_dir", "seed", "device"}


def test_the_example_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = EXAMPLES
    assert len(example.splitlines()) <= 30
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(example, str(DOC), "exec"), names)
    steps = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in steps] == ["1", "2", "3"]
    assert all(0.0 < float(line[3]) <= 64.0 for line in steps)
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "ppo" / "actor").num_parameters() == 832_512
    assert (tmp_path / "out" / "ppo" / "checkpoints").is_dir()
    # "Run again, ...": built anew it goes on from the end, so nothing is trained and the record is the same.
    monkeypatch.setattr("bai_sweep.ppo.PPOTrainer.train", _going_on(names["PPOTrainer"]))
    exec(compile(example, str(DOC), "exec"), names)
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == steps


def _going_on(trainer: object) -> object:
    train = trainer.train  # type: ignore[attr-defined]
    return lambda self: train(self, resume_from_checkpoint=True)


def table(heading: str) -> list[list[str]]:
    """The cells of the first table under a heading."""
    lines = TEXT.split(f"## {heading}\n")[1].splitlines()
    rows = [line for line in lines if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[2:]]


def test_the_table_of_settings_has_every_default() -> None:
    presets = {name: PPOConfig(preset=name).model_dump(mode="json") for name in ("ppo", "vc_ppo", "vapo")}
    stated: dict[str, dict[str, object]] = {}
    for name, default in table("All settings"):
        setting = name.strip("`")
        plain, *others = re.findall(r"(?:^|; |\()([\w, ]*?)(?:: )?`(.*?)`", default)
        stated[setting] = dict.fromkeys(presets, value(plain[1]))
        for who, what in others:
            stated[setting] |= dict.fromkeys(who.split(", "), value(what))
    assert set(stated) == FIELDS
    for setting, values in stated.items():
        assert values == {name: preset[setting] for name, preset in presets.items()}, setting


def value(shown: str) -> object:
    """What YAML takes a default for; 1e-06 is a number to JSON only."""
    return float(shown) if re.fullmatch(r"\de-\d+", shown) else yaml.safe_load(shown)


def test_every_switch_of_the_algorithm_is_there() -> None:
    rows = TEXT.split("## The algorithm\n")[1].split("### Presets")[0]
    switches = [re.split(r"(?<!\\)\|", row)[2] for row in rows.splitlines() if row.startswith("| ")][1:]
    named = {name for cell in switches for name in re.findall(r"`(\w+)`", cell)}
    assert named <= FIELDS
    machinery = {"steps", "batch_size", "max_new_tokens", "max_prompt_tokens", "kl_to_sft", "checkpoint_steps"}
    machinery |= {"checkpoint_limit", "precision", "gradient_checkpointing", "micro_batch_tokens", "static_cache"}
    machinery |= {"engine", "vllm", "lora", "num_processes", "accelerate_config"}
    assert FIELDS - machinery == named
    assert not [name for name in machinery if f"`{name}" not in TEXT.split("## All settings")[0]]


def test_files_that_it_names_exist() -> None:
    root = DOC.parents[1]
    for path in re.findall(r"`((?:conf|bai_sweep)/[\w./]+\.(?:yaml|py))`", TEXT):
        assert (root / path).is_file(), path
    for link in re.findall(r"\]\((?!http)([\w./]+)\)", TEXT):
        assert (DOC.parent / link).is_file(), link
