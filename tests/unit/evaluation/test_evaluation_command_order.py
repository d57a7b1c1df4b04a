"""What is wrong with data, judge, model or folders is said before a model is loaded; the model here has no weights."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests.integration.evaluation.benchmark_files import PER_TASK, Files
from tests.unit.evaluation.evaluation_command_cases import AIME, MIXEVAL, QUICK, Ended, command, only

Run = Callable[..., Ended]
PROBLEMS = "data/aime_2024/test.jsonl"


@pytest.fixture
def unloadable(tiny_family: dict[str, Path], tmp_path: Path) -> Path:
    """A folder that passes for a model until it is loaded."""
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copy(tiny_family["base"] / "config.json", folder)
    return folder


@pytest.fixture
def run(unloadable: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Ends before the model is loaded, and says nothing of it."""
    Files(tmp_path / "data")

    def call(*arguments: str) -> Ended:
        fixed = (f"model={unloadable}", f"evaluation.data_dir={tmp_path / 'data'}", f"results_dir={tmp_path / 'out'}")
        return command(capsys, "run", *fixed, *QUICK, *arguments)

    return call


def refused(ended: Ended, *said: str) -> bool:
    """Whether a run ended with 1 before the model was loaded, saying all of these."""
    assert (ended.code, ended.out) == (1, "")
    assert "loading" not in ended.err
    assert "Traceback" not in ended.err
    for text in said:
        assert text in ended.err
    return True


def test_a_model_without_weights_is_found_after_all_else(run: Run, unloadable: Path) -> None:
    """So that the other tests mean something: with good data it comes to loading the model, and fails there."""
    ended = run(*only(AIME), "evaluation.partial_data=true")
    assert (ended.code, ended.out) == (1, "")
    assert f"loading {unloadable}" in ended.err
    assert f"a model is a folder or on the hub; '{unloadable}' could not be read" in ended.err


def test_missing_data_is_named_with_the_way_to_get_it(run: Run, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "data/aime_2024")
    command = f"python -m bai_sweep.evaluation fetch benchmarks=aime_2024 data_dir={tmp_path / 'data'}"
    ended = run(*only(AIME), "evaluation.partial_data=true")
    assert refused(ended, "1 of 1 benchmarks cannot run", f"{tmp_path / PROBLEMS}", f"get it with `{command}`")
    assert not (tmp_path / "out").exists()


def test_every_benchmark_without_data_is_named(run: Run, tmp_path: Path) -> None:
    for name in ("mmlu_pro", "livebench/language", "arenahard/v0.1/model_answer"):
        shutil.rmtree(tmp_path / "data" / name)
    ended = run("evaluation=paper", "evaluation.partial_data=true", "judge=recorded", _recording(tmp_path))
    assert refused(ended, "- mmlu_pro: ", "mmlu_pro/test.jsonl", "- arenahard: ", "model_answer/gpt-4-0314.jsonl")
    assert "- supergpqa" not in ended.err


def _recording(folder: Path) -> str:
    path = folder / "replies.jsonl"
    path.write_text(json.dumps({"messages": [{"role": "user", "content": "?"}], "text": "[[A]]"}) + "\n")
    return f"judge.path={path}"


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines(keepends=True)


def _without_answer(path: Path) -> None:
    rows = [json.loads(line) for line in _lines(path)]
    del rows[1]["Answer"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _cut_off(path: Path) -> None:
    path.write_text("".join(_lines(path))[:-20], encoding="utf-8")


def _three_years(path: Path) -> None:
    row = json.loads(_lines(path)[0])
    path.write_text("".join(json.dumps({**row, "ID": f"x-{n}"}) + "\n" for n in range(90)), encoding="utf-8")


def _empty(path: Path) -> None:
    path.write_text("")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_without_answer, f"{PROBLEMS}, line 2: column answer is missing"),
        (_cut_off, f"{PROBLEMS}, line {PER_TASK}: the last line is cut off"),
        (_three_years, f"{PROBLEMS} has 90 rows, the file of AIME 2024 30; 90 rows are AIME 2022 to 2024"),
        (_empty, f"{PROBLEMS} is empty"),
    ],
)
def test_bad_data_is_named(spoil: Callable[[Path], None], said: str, run: Run, tmp_path: Path) -> None:
    spoil(tmp_path / PROBLEMS)
    assert refused(run(*only(AIME), "evaluation.partial_data=true"), said, "get it with `python -m bai_sweep")


def test_a_part_of_the_data_has_to_be_meant(run: Run, tmp_path: Path) -> None:
    said = f"{tmp_path / PROBLEMS} has {PER_TASK} rows, the file of AIME 2024 30"
    assert refused(run(*only(AIME)), said, "evaluation.partial_data=true, if a subset is meant")


def test_another_version_is_told(run: Run, tmp_path: Path) -> None:
    """Questions of ArenaHard 2.0 in the place of 0.1's."""
    path = tmp_path / "data/arenahard/v0.1/question.jsonl"
    rows = [json.loads(line) for line in _lines(path)]
    path.write_text("".join(json.dumps({**row, "category": "hard_prompt"}) + "\n" for row in rows))
    arena = "arena:{task:arenahard_v0.1,metric:win_rate,data:arenahard_v0.1,needs:[judge]"
    ended = run(*only(arena), "evaluation.partial_data=true", "judge=recorded", _recording(tmp_path))
    assert refused(ended, "column category is arena-hard-v0.1 in v0.1; got 'hard_prompt'")


def test_without_a_judge(run: Run) -> None:
    ended = run(*only(MIXEVAL), "evaluation.partial_data=true")
    assert refused(ended, "mixeval: it needs a judge: judge=openai (any OpenAI-compatible server), judge=local")


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        (["judge=openai", "judge.key_env=NO_SUCH_KEY"], "NO_SUCH_KEY"),
        (["judge=openai", "judge.key_env=null", "judge.base_url=http://127.0.0.1:9/v1"], "http://127.0.0.1:9/v1"),
        (["judge=recorded", "judge.path=nowhere.jsonl"], "nowhere.jsonl cannot be read"),
        (["judge=local", "judge.model=testbed://base", "judge.device=cuda:7"], "cuda:7"),
    ],
)
def test_a_judge_that_cannot_answer(judge: list[str], said: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    assert refused(run(*only(MIXEVAL), "evaluation.partial_data=true", *judge), said)


def test_a_task_that_does_not_exist(run: Run) -> None:
    assert refused(run(*only("x:{task:no_such_task,metric:acc")), "no_such_task")


@pytest.mark.parametrize("key", ["out", "evaluation.cache_dir"])
def test_a_folder_that_cannot_be_made(key: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = run(*only(AIME), "evaluation.partial_data=true", f"{key}={tmp_path / 'file' / 'below'}")
    assert refused(ended, f"{key}={tmp_path / 'file' / 'below'}, which cannot be", "Not a directory; name another")


def test_an_adapter_is_refused_with_the_way_out(run: Run, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "testbed://base"}))
    ended = run(f"model={adapter}")
    assert refused(ended, f"a model is evaluated whole, {adapter} is an adapter")
    assert re.search(rf"python -m bai_sweep\.merge sft\.adapter={adapter} alpha=0 out=<folder>", ended.err)


def _shorter(weights: Path) -> None:
    weights.write_bytes(weights.read_bytes()[:-1000])


def _without_a_layer(weights: Path) -> None:
    kept = {name: tensor for name, tensor in load_file(weights).items() if ".layers.1." not in name}
    save_file(kept, weights, {"format": "pt"})


def _of_another_shape(weights: Path) -> None:
    tensors = load_file(weights)
    tensors["model.norm.weight"] = tensors["model.norm.weight"][:-1].clone()
    save_file(tensors, weights, {"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_shorter, "cannot be loaded: "),
        (_of_another_shape, "cannot be loaded: "),
        (_without_a_layer, "lacks 9, as model.layers.1."),
    ],
)
def test_a_model_that_is_broken(
    spoil: Callable[[Path], None], said: str, tiny_family: dict[str, Path], run: Run, tmp_path: Path
) -> None:
    """No part of a model is made up."""
    folder = tmp_path / "broken"
    shutil.copytree(tiny_family["base"], folder)
    spoil(folder / "model.safetensors")
    ended = run(f"model={folder}", *only(AIME), "evaluation.partial_data=true")
    assert (ended.code, ended.out) == (1, "")
    assert re.search(rf"{folder} .*{re.escape(said)}|weights of {folder} {re.escape(said)}", ended.err)
    assert not list(tmp_path.glob("out/**/report.json"))
