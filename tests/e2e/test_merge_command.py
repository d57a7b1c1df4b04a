"""`python -m bai_sweep.merge` as a user meets it, each command a process of its own."""

from __future__ import annotations

import copy
import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.tiny import save_tiny_model, tiny_model, tiny_tokenizer

HEAVY = ("torch", "transformers", "hydra", "mlflow", "rich", "scipy", "pandas", "matplotlib", "bai_sweep.ppo")


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "bai_sweep.merge", *map(str, arguments)]


def merge(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base, and two models that were tuned from it, as far as their weights tell."""
    root = tmp_path_factory.mktemp("tuned")
    base = tiny_model(0)
    for seed, name in enumerate(("base", "instruct", "distilled")):
        model, random = copy.deepcopy(base), torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=random), alpha=seed * 1e-3)
        model.to(torch.bfloat16).save_pretrained(root / name)
        tiny_tokenizer().save_pretrained(root / name)
    return {name: root / name for name in ("base", "instruct", "distilled")}


@pytest.fixture
def models(family: Mapping[str, Path]) -> list[str]:
    """The arguments that name the family."""
    return [f"base={family['base']}", *(f"sft.{name}={family[name]}" for name in ("instruct", "distilled"))]


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_the_result_is_the_formula_and_generates(
    tmp_path: Path, family: Mapping[str, Path], models: list[str]
) -> None:
    done = merge(tmp_path, *models, "alpha=0.3", "weights.instruct=0.75", "weights.distilled=0.25", "out=merged")

    assert done.returncode == 0, done.stderr
    assert done.stderr == "merging 0.3*base + 0.525*instruct + 0.175*distilled into merged\n"
    for said in ("merged    0.3*base", "into      merged", "size      ", "took      ", "doubts    none", "load it   "):
        assert f"\n{said}" in f"\n{done.stdout}"
    stored = {name: load_file(folder / "model.safetensors") for name, folder in family.items()}
    result = load_file(tmp_path / "merged" / "model.safetensors")
    assert set(result) == set(stored["base"])
    for name, tensor in result.items():
        base, instruct, distilled = (stored[m][name].double() for m in ("base", "instruct", "distilled"))
        exact = 0.3 * base + 0.7 * (0.75 * instruct + 0.25 * distilled)
        assert tensor.dtype == torch.bfloat16
        torch.testing.assert_close(tensor.double(), exact, rtol=2.0**-8, atol=1e-7)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "1 + 1"}], return_tensors="pt", return_dict=True)
    answer = loaded.generate(**ids, max_new_tokens=4, min_new_tokens=4, do_sample=False)
    assert answer.shape[1] == ids["input_ids"].shape[1] + 4
    assert torch.equal(loaded.model.embed_tokens.weight, result["model.embed_tokens.weight"].float())


def test_the_record_has_the_geometry_the_digests_and_the_command(tmp_path: Path, models: list[str]) -> None:
    done = merge(tmp_path, *models, "merge=ties", "merge.density=0.3", "out=merged", "diagnostics=full")

    record = json.loads((tmp_path / "merged" / "merge.json").read_text())
    assert done.returncode == 0, done.stderr
    assert record["command"].startswith("python -m bai_sweep.merge base=")
    assert record["settings"] == {"density": 0.3, "election": "weight"}
    assert record["geometry"]["share"] == 1.0
    assert [row["layer"] for row in record["geometry"]["layers"]] == ["embeddings", 0, 1, "final norm"]
    assert 0.3 < record["geometry"]["total"]["conflict"]["instruct~distilled"]["share"] < 0.7
    assert all(len(file["sha256"]) == 64 for files in record["inputs"].values() for file in files)
    assert (tmp_path / "merged" / "geometry.png").read_bytes().startswith(b"\x89PNG")


def test_a_dry_run_says_everything_and_touches_nothing(
    tmp_path: Path, family: Mapping[str, Path], models: list[str]
) -> None:
    size = (family["base"] / "model.safetensors").stat().st_size
    before = listing(tmp_path)

    done = merge(tmp_path, *models, "merge=ties", "out=deep/merged", "max_shard_size=20kB", "dry_run=true")

    assert done.returncode == 0, done.stderr
    assert listing(tmp_path) == before
    assert not done.stderr
    said = done.stdout
    assert "would merge ties(0.5*base + 0.25*instruct + 0.25*distilled; density=0.5, election=weight)" in said
    for name in family:
        assert any(line.split()[0] == name and "BF16" in line for line in said.splitlines() if line), name
    assert f"reads       {9 * size / 1000:.3g} kB" in said  # three models, thrice
    assert "vocabulary  that of instruct, " in said
    assert " in 3 files; " in said
    assert "memory      about " in said
    assert "doubts      none" in said


def test_doubts_are_said_before_and_counted_after(
    tmp_path: Path, models: list[str], family: Mapping[str, Path]
) -> None:
    stranger = save_tiny_model(tmp_path / "stranger", seed=9)
    arguments = [models[0], f"sft.stranger={stranger}", "out=merged", "figure=false"]

    dry, done = merge(tmp_path, *arguments, "dry_run=true"), merge(tmp_path, *arguments)

    assert done.returncode == 0, done.stderr
    assert "\ndoubt: stranger" in done.stderr
    assert "doubts    1, listed above and in merge.json" in done.stdout
    assert "\ndoubt       stranger" in dry.stdout
    assert not dry.stderr


def test_a_merge_imports_nothing_heavy(tmp_path: Path, models: list[str]) -> None:
    arguments = [*models, "out=merged", "figure=false"]
    code = (
        "import sys; from bai_sweep.merging.command import main;"
        f"code = main({arguments!r}); print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules]); sys.exit(code)"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "HEAVY []" in done.stdout
    assert not (tmp_path / "merged" / "geometry.png").exists()


def test_stage_one_alone_has_no_base(tmp_path: Path, models: list[str]) -> None:
    done = merge(tmp_path, *models[1:], "alpha=0", "out=merged", "figure=false", "dtype=float32", "merge=slerp")

    record = json.loads((tmp_path / "merged" / "merge.json").read_text())
    assert done.returncode == 0, done.stderr
    assert record["weights"] == {"instruct": 0.5, "distilled": 0.5}
    assert record["geometry"]["total"]["task_vectors"] is None
    assert load_file(tmp_path / "merged" / "model.safetensors")["model.norm.weight"].dtype == torch.float32


def test_a_bad_argument_is_exit_code_2_and_bad_models_are_1(tmp_path: Path, models: list[str]) -> None:
    wide = save_tiny_model(tmp_path / "wide", hidden_size=64)
    (tmp_path / "there").mkdir()
    before = listing(tmp_path)

    argument = merge(tmp_path, *models, "alpha=2", "out=merged")
    shapes = merge(tmp_path, *models, f"sft.wide={wide}", "out=merged")
    exists = merge(tmp_path, *models, "out=there")
    nothing = merge(tmp_path)
    helped = merge(tmp_path, "--help")

    assert [d.returncode for d in (argument, shapes, exists, nothing, helped)] == [2, 1, 1, 2, 0]
    assert "alpha: Input should be less than or equal to 1 (got 2)" in argument.stderr
    assert "model.embed_tokens.weight" in shapes.stderr
    assert "there exists; nothing is overwritten" in exists.stderr
    assert nothing.stderr == helped.stdout
    for done in (argument, shapes, exists):
        assert "Traceback" not in done.stderr
        assert not done.stdout
    assert listing(tmp_path) == before


def test_ctrl_c_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    # rows enough that a merge with every diagnostic takes a second or more
    model = save_tiny_model(tmp_path / "model", vocab_size=400_000, hidden_size=64, dtype=torch.bfloat16)
    arguments = [f"base={model}", f"sft.a={model}", f"sft.b={model}", "merge=ties", "diagnostics=full", "out=merged"]
    before = listing(tmp_path)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command(*arguments), cwd=tmp_path, text=True, **pipes) as process:
        while not list(tmp_path.glob("merged.partial*/*.safetensors")) and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)

    assert process.returncode == 130, errors
    assert "nothing was left" in errors
    assert "Traceback" not in errors
    assert not output
    assert listing(tmp_path) == before
