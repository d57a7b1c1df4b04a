"""`check` and `fetch`: whether the benchmarks can run here, and getting what they need."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from bai_sweep.config import ConfigError, EvaluationConfig
from bai_sweep.evaluation import data
from bai_sweep.evaluation.command._settings import settings_of
from bai_sweep.records import UserError

ANY_MODEL = "testbed://base"  # a check needs none


def check(arguments: Sequence[str]) -> None:
    """Prints of every benchmark which data it has, or why it cannot run.

    Raises:
        UserError: One cannot run.
    """
    from bai_sweep.evaluation._availability import missing_benchmarks
    from bai_sweep.judging import check_judge, name_of

    settings = settings_of(arguments, model=ANY_MODEL)
    config = settings.evaluation
    missing = missing_benchmarks(config, name_of(settings.judge))
    for name in [*config.benchmarks, *config.unavailable]:
        print(f"{name:14} {missing[name] if name in missing else _ready(name, config)}")
    check_judge(settings.judge)
    if missing:
        raise UserError(f"{len(missing)} of {len(config.benchmarks) + len(config.unavailable)} benchmarks cannot run")


def _ready(name: str, config: EvaluationConfig) -> str:
    source = config.benchmarks[name].data
    if source is None:
        return "ready"
    if config.data_dir is None:
        return "ready; its data comes from the hub, once"
    found = data.describe(source, config.data_dir)
    part = ", a part of it" if found.partial else ""
    return f"ready: version {found.version}, {sum(found.rows.values())} rows{part}, from {found.source}"


def fetch(arguments: Sequence[str]) -> None:
    """Fills a folder with the benchmarks' data.

    Raises:
        ConfigError: An argument is at fault.
        UserError: A download fails, or what came is not what it should be.
    """
    given = dict(argument.partition("=")[::2] for argument in arguments)
    if unknown := sorted(set(given) - {"data_dir", "benchmarks"}) or not given.get("data_dir"):
        wrong = f"; got {', '.join(unknown)}" if isinstance(unknown, list) else ""
        raise ConfigError(f"fetch takes data_dir=<folder> and benchmarks=<a,b> (default: the paper's nine){wrong}")
    benchmarks = [name for name in given.get("benchmarks", "").split(",") if name] or _papers()
    data.fetch(benchmarks, Path(given["data_dir"]), on_progress=lambda text: print(text, file=sys.stderr))
    print(f"run it with evaluation.data_dir={given['data_dir']}")


def _papers() -> list[str]:
    config = settings_of(["evaluation=paper"], model=ANY_MODEL).evaluation
    return [benchmark.data for benchmark in config.benchmarks.values() if benchmark.data]
