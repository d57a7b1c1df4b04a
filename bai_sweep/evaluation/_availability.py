"""Whether every benchmark can run, said before a model is merged: cheap, with neither torch nor lm-eval imported."""

from __future__ import annotations

import glob
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from bai_sweep.config import Benchmark, EvaluationConfig
from bai_sweep.evaluation import data
from bai_sweep.evaluation._catalogue import Dataset, TaskSource, find_task
from bai_sweep.records import UserError
from bai_sweep.sandbox import open_sandbox

HUB_TIMEOUT = 5.0  # seconds; an unreachable hub is asked once
_FILE_BUILDERS = {"json", "csv", "parquet", "arrow", "text", "pandas", "xml"}


def check(config: EvaluationConfig, judge: str | None) -> None:
    """Makes sure that every benchmark can run, unless `allow_missing` is set.

    Args:
        config: checked.
        judge: name of the judge there will be, None for none.

    Raises:
        UserError: names every benchmark that cannot run, with the reason and what to do; or a task that does
            not exist, whatever `allow_missing` says.
    """
    require(config, judge)
    if config.benchmarks:
        _require_cache(Path(config.cache_dir).expanduser())


def _require_cache(folder: Path) -> None:
    """Answers and verdicts go there: a place that cannot be written is told before anything is asked."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"answers are kept in evaluation.cache_dir={folder}, which cannot be written: {error.strerror}; name "
            "another folder"
        ) from error


def require(config: EvaluationConfig, judge: str | None) -> dict[str, str]:
    """`check`, returning why each benchmark that `allow_missing` forgives cannot run."""
    missing = missing_benchmarks(config, judge)
    if not missing or config.allow_missing:
        return missing
    lines = "\n".join(f"  - {name}: {reason}" for name, reason in missing.items())
    total = len(config.unavailable) + sum(name not in config.unavailable for name in config.benchmarks)
    raise UserError(
        f"evaluation={config.name}: {len(missing)} of {total} benchmarks cannot run, and an overall score needs every "
        f"one:\n{lines}\nSet evaluation.allow_missing=true to run the others without an overall score"
        f"{_where_data_is_looked_for(missing, config)}."
    )


def missing_benchmarks(config: EvaluationConfig, judge: str | None) -> dict[str, str]:
    """Why each benchmark that cannot run cannot.

    Raises:
        UserError: a benchmark names a task that does not exist.
    """
    hub = _Hub()
    missing = dict(config.unavailable)
    for name, benchmark in config.benchmarks.items():
        needed, data_faults = list(_faults_of_needs(benchmark, config, judge)), _faults_of_data(benchmark, config, hub)
        first, rest = next(data_faults, None), sum(1 for _ in data_faults)
        if first is not None:
            needed.append(first + (f" (and {rest} more of its datasets)" if rest else ""))
        if needed:
            missing[name] = "; ".join(needed)
    return missing


def _faults_of_needs(benchmark: Benchmark, config: EvaluationConfig, judge: str | None) -> Iterator[str]:
    if "judge" in benchmark.needs and judge is None:
        yield (
            "it needs a judge: judge=openai (any OpenAI-compatible server), judge=local (a model on this machine) or "
            "judge=recorded (a file)"
        )
    if "sandbox" in benchmark.needs:
        try:
            open_sandbox(config.isolation)
        except UserError as error:
            yield f"it runs generated code: {error}"


def _faults_of_data(benchmark: Benchmark, config: EvaluationConfig, hub: _Hub) -> Iterator[str]:
    source = find_task(benchmark.task)
    if benchmark.data is not None:
        if fault := data.check(benchmark.data, config.data_dir, partial=config.partial_data):
            yield fault
            return
        yield from _absent_tasks(source, benchmark.data, config)
        if config.data_dir is not None or data.is_fetched(benchmark.data):
            return
        for repo in data.hub_datasets(benchmark.data):
            if not _is_cached(Dataset(repo, None, ())) and (fault := hub.fault_of(repo)):
                yield f"dataset {repo} is not in the local cache, and {fault}"
        return
    yield from (fault for dataset in source.datasets if (fault := _fault_of(dataset, hub)))


def _absent_tasks(source: TaskSource, benchmark: str, config: EvaluationConfig) -> Iterator[str]:
    """LiveBench's tasks have a file each: in partial data some may lack, and its group needs all of them."""
    if benchmark != "livebench" or config.data_dir is None:
        return
    there = {f"livebench_{key.partition('/')[2].lower()}" for key in data.describe(benchmark, config.data_dir).rows}
    if absent := [task for task in source.tasks if task not in there]:
        yield (
            f"the data in {config.data_dir}/livebench has no questions of {', '.join(absent)}; fetch them, or make a "
            f"benchmark of each task that is there ({', '.join(sorted(there))})"
        )


def _fault_of(dataset: Dataset, hub: _Hub) -> str | None:
    absent = [f for f in dataset.files if "://" not in f and not glob.glob(str(Path(f).expanduser()))]  # noqa: PTH207
    if absent:
        return f"there is no data file {absent[0]}"
    if dataset.path in _FILE_BUILDERS or Path(dataset.path).is_dir() or _is_cached(dataset):
        return None
    label = f"dataset {dataset.path}" + (f" ({dataset.name})" if dataset.name else "")
    fault = hub.fault_of(dataset.path)
    return f"{label} is not in the local cache, and {fault}" if fault else None


def _is_cached(dataset: Dataset) -> bool:
    """Whether `load_dataset` finds it offline: <cache>/<owner>___<name in snake case>/<config>/<version>/<hash>."""
    folder = dataset.path.replace("/", "___")
    cached = [f for f in _datasets_cache().glob("*") if _folded(f.name) == _folded(folder)]
    return any(True for f in cached for _ in f.glob(f"{dataset.name or '*'}/*/*/dataset_info.json"))


def _folded(name: str) -> str:
    return name.replace("_", "").lower()


def _datasets_cache() -> Path:
    from huggingface_hub import constants

    return Path(os.environ.get("HF_DATASETS_CACHE") or Path(constants.HF_HOME) / "datasets").expanduser()


class _Hub:
    """The dataset hub, asked at most once for each dataset and not again once it did not answer."""

    def __init__(self) -> None:
        self._known: dict[str, str | None] = {}
        self._unreachable: str | None = None

    def fault_of(self, path: str) -> str | None:
        """Why `path` cannot be downloaded; None if it can."""
        if path not in self._known:
            self._known[path] = self._unreachable or self._ask(path)
        return self._known[path]

    def _ask(self, path: str) -> str | None:
        from huggingface_hub import HfApi, constants
        from huggingface_hub.errors import HfHubHTTPError

        if _offline():
            self._unreachable = "the hub is switched off (HF_HUB_OFFLINE or HF_DATASETS_OFFLINE)"
            return self._unreachable
        try:
            HfApi().dataset_info(path, timeout=HUB_TIMEOUT)
        except HfHubHTTPError as error:
            return f"{constants.ENDPOINT} refuses it: {str(error).strip().splitlines()[-1]}"
        except Exception as error:  # noqa: BLE001 - each HTTP client has its own family; all mean no answer
            self._unreachable = f"{constants.ENDPOINT} cannot be reached ({type(error).__name__})"
            return self._unreachable
        return None


def _offline() -> bool:
    names = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
    return any(os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"} for name in names)


def _where_data_is_looked_for(missing: Mapping[str, str], config: EvaluationConfig) -> str:
    if set(missing) <= set(config.unavailable):
        return ""
    from huggingface_hub import constants

    return (
        f"; data is looked for in {_datasets_cache()}, in a folder of the dataset's name, and on {constants.ENDPOINT}"
    )
