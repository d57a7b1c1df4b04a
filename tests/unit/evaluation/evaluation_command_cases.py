"""What the tests of the command share: benchmarks of a few items, models that are not whole, and what is asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaForCausalLM

from bai_sweep.evaluation.command import main

QUICK = ("evaluation.max_new_tokens=8", "dtype=float32", "device=cpu")
MODEL = "model=testbed://instruct"
AIME = "aime:{task:aime_2024,metric:exact_match,data:aime_2024"
MIXEVAL = "mixeval:{task:mixeval_hard,metric:score,data:mixeval_hard_2024-08-11,needs:[judge]"
_COMMON = "filter:none,chat_template:true,num_fewshot:0,limit:null}"


def only(*benchmarks: str) -> tuple[str, ...]:
    """Arguments for an evaluation of these alone."""
    return ("evaluation=none", *(f"+evaluation.benchmarks.{_named(benchmark)}" for benchmark in benchmarks))


def _named(benchmark: str) -> str:
    name, _, settings = benchmark.partition(":")
    return f"{name}={settings},{_COMMON}"


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> Ended:
    """Runs the command in this process."""
    capsys.readouterr()
    code = main(arguments)
    return Ended(code, *capsys.readouterr())


def report_in(folder: Path) -> dict[str, Any]:
    """A run's report without what may differ between two of the same; it has to be JSON, which has no NaN."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    (path,) = folder.glob("**/report.json")
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    del report["seconds"]
    return report


@contextmanager
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Rows of each batch that a model is asked meanwhile."""
    rows: list[int] = []
    forward = LlamaForCausalLM.forward

    def counted(model: LlamaForCausalLM, input_ids: Any = None, **kwargs: Any) -> Any:
        rows.append(len(input_ids))
        return forward(model, input_ids=input_ids, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(LlamaForCausalLM, "forward", counted)
        yield rows


def everything_in(folder: Path) -> bytes:
    """The bytes of all files."""
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
