"""Arguments of the command: what they may be, what is said of others, and that these leave nothing behind."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bai_sweep.evaluation.command import settings_of
from tests.integration.evaluation.benchmark_files import Files
from tests.unit.evaluation.evaluation_command_cases import AIME, MODEL, command, only

Capture = pytest.CaptureFixture[str]
PARTS = ("run", "check", "fetch", "compare")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the command is run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["run", "--help"], ["compare", "-h"]])
def test_help(arguments: list[str], capsys: Capture) -> None:
    ended = command(capsys, *arguments)
    assert (ended.code, ended.err) == (0, "")
    for part in PARTS:
        assert f"python -m bai_sweep.evaluation {part} " in ended.out


def test_without_arguments_the_usage_is_said(capsys: Capture) -> None:
    ended = command(capsys)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("usage: ")


def test_an_unknown_part(capsys: Capture) -> None:
    ended = command(capsys, "score", MODEL)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("there are run, check, fetch, compare; got 'score'\n\nusage: ")


def test_it_is_a_module(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "bai_sweep.evaluation", "run", "limit=0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=tmp_path,
    )
    assert (run.returncode, run.stdout) == (2, "")
    assert "model" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], r"Missing mandatory value: model"),
        (["model=testbed://nobody"], r"model: .*testbed://base.*got 'testbed://nobody'"),
        (["model=no/such/folder"], r"no such folder: 'no/such/folder'"),
        ([MODEL, "colour=red"], r"Could not override 'colour'"),
        ([MODEL, "+colour=red"], r"colour: there is no such key; conf/evaluate.yaml"),
        ([MODEL, "evaluation.colour=red"], r"Could not override 'evaluation.colour'"),
        ([MODEL, "evaluation=nine"], r"Could not find 'evaluation/nine'"),
        ([MODEL, "judge=friend"], r"Could not find 'judge/friend'"),
        ([MODEL, "limit=0"], r"1 fault:\n  - limit: .*greater than or equal to 1"),
        ([MODEL, "limit=few"], r"1 fault:\n  - limit: .*integer"),
        ([MODEL, "threads=many"], r"threads: .*integer"),
        ([MODEL, "dtype=float8"], r"dtype: .*float32"),
        ([MODEL, "device=tpu"], r"device: .*pattern"),
        ([MODEL, "evaluation=quick", "limit=3"], r"subset or by limit; got subset=100 and a limit of mmlu_pro"),
        ([MODEL, "limit"], r"limit"),
        ([MODEL, "evaluation.benchmarks=null", "limit=2"], r"evaluation.benchmarks: "),
        ([MODEL, "+evaluation.benchmarks.a=5", "limit=2"], r"evaluation.benchmarks.a: "),
        ([MODEL, "judge=openai", "judge.base_url=ftp://x"], r"judge.*base URL is http"),
        ([MODEL, "limit=0", "dtype=float8"], r"2 faults:\n  - dtype: .*\n  - limit: "),
    ],
)
def test_a_wrong_argument_ends_with_2_and_leaves_nothing(
    arguments: list[str], said: str, capsys: Capture, tmp_path: Path
) -> None:
    ended = command(capsys, "run", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert re.search(said, ended.err)
    assert list(tmp_path.iterdir()) == []


def test_a_models_name_is_taken_as_it_is(tiny_family: dict[str, Path], tmp_path: Path) -> None:
    """conf/ has a group `model` of its own, and a folder's name may hold what Hydra's grammar does not."""
    place = tmp_path / "step=3, (a, b)"
    place.symlink_to(tiny_family["base"])
    settings = settings_of([f"model={place}"])
    assert settings.model == str(place)
    assert settings_of(["model=testbed://base", f"model={place}"]).model == str(place)
    assert settings.folder.parent == Path("results/evaluation")
    assert "/" not in settings.folder.name


def test_each_models_report_has_a_folder_of_its_own() -> None:
    def folder(*arguments: str) -> Path:
        return settings_of(arguments).folder

    assert folder(MODEL) == Path("results/evaluation/testbed_instruct")
    assert folder(MODEL, "results_dir=elsewhere") == Path("elsewhere/evaluation/testbed_instruct")
    assert folder(MODEL, "out=there") == Path("there")
    assert folder("model=a/b@main") != folder("model=a/b")


def test_a_limit_is_every_benchmarks() -> None:
    benchmarks = settings_of([MODEL, "evaluation=paper", "limit=7"]).evaluation.benchmarks
    assert [benchmark.limit for benchmark in benchmarks.values()] == [7] * 9


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "fetch takes data_dir=<folder>"),
        (["benchmarks=mmlu"], "fetch takes data_dir=<folder>"),
        (["data_dir="], "fetch takes data_dir=<folder>"),
        (["data_dir=d", "bench=mmlu"], "got bench"),
        (["mmlu"], "got mmlu"),
    ],
)
def test_fetchs_arguments(arguments: list[str], said: str, capsys: Capture, tmp_path: Path) -> None:
    ended = command(capsys, "fetch", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert list(tmp_path.iterdir()) == []


def test_fetch_of_an_unknown_benchmark(capsys: Capture, tmp_path: Path) -> None:
    ended = command(capsys, "fetch", "data_dir=d", "benchmarks=mmlu,gsm9k")
    assert ended.code == 1
    assert "got 'gsm9k'" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_fetch_asks_for_what_is_named_and_else_for_the_papers_nine(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[list[str], Path]] = []
    monkeypatch.setattr(
        "bai_sweep.evaluation.data.fetch", lambda names, place, on_progress: calls.append((list(names), place))
    )
    assert command(capsys, "fetch", "data_dir=d", "benchmarks=mmlu,math500").code == 0
    ended = command(capsys, "fetch", "data_dir=d")
    assert ended.out == "run it with evaluation.data_dir=d\n"
    assert calls[0] == (["mmlu", "math500"], Path("d"))
    assert calls[1][0] == [
        "mmlu_pro", "mmlu", "supergpqa", "livebench", "mixeval_hard_2024-08-11", "arenahard_v0.1", "aime_2024", "math",
        "mbpp_plus",
    ]  # fmt: skip


@pytest.mark.parametrize("folders", [[], ["one"]])
def test_compare_takes_two(folders: list[str], capsys: Capture) -> None:
    ended = command(capsys, "compare", *folders)
    assert (ended.code, ended.out) == (2, "")
    assert "compare takes two folders at least" in ended.err


def test_check_lists_every_benchmark(capsys: Capture, tmp_path: Path) -> None:
    """Those that can run with their data, the others with the reason; without a model."""
    data = f"evaluation.data_dir={Files(tmp_path / 'data').root}"
    ended = command(capsys, "check", "evaluation=paper", data, "evaluation.partial_data=true")
    lines = {line.split()[0]: line for line in ended.out.splitlines()}
    assert list(lines) == list(settings_of([MODEL, "evaluation=paper"]).evaluation.benchmarks)
    for name in ("mixeval_hard", "arenahard"):
        assert "it needs a judge: judge=openai" in lines.pop(name)
    assert all("ready: version" in line and "a part of it" in line for line in lines.values())
    assert (ended.code, ended.err) == (1, "2 of 9 benchmarks cannot run\n")


def test_check_of_what_can_run(capsys: Capture, tmp_path: Path) -> None:
    ended = command(capsys, "check")
    assert (ended.code, ended.err) == (0, "")
    assert [line.split() for line in ended.out.splitlines()] == [
        ["knowledge", "ready"],
        ["arithmetic", "ready"],
        ["arena", "ready"],
    ]
    assert list(tmp_path.iterdir()) == []


def test_check_says_what_is_unavailable(capsys: Capture, tmp_path: Path) -> None:
    data = f"evaluation.data_dir={Files(tmp_path / 'data').root}"
    ended = command(capsys, "check", *only(AIME), data, "+evaluation.unavailable.gpqa=no licence")
    assert ended.code == 1
    lines = ended.out.splitlines()
    assert lines[0].startswith("aime ")
    assert "has 3 rows, the file of AIME 2024 30" in lines[0]
    assert lines[1].split(maxsplit=1) == ["gpqa", "no licence"]
    assert ended.err == "2 of 2 benchmarks cannot run\n"
