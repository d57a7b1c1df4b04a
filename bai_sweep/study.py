"""How a study opens and how it ends: the tracker's parent run, the live display, the choice and the report."""

from __future__ import annotations

import json
import logging
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bai_sweep.config import NoRL, TrialConfig, parse_mapping
from bai_sweep.records import EvalReport, MergeRecipe, TrialResult, UserError

if TYPE_CHECKING:
    from bai_sweep.report import StudyReport
    from bai_sweep.tracking import TrialRun

log = logging.getLogger(__name__)

_RECORD = "study.json"
_SWEPT_FIRST = ("alpha", "actor", "seed")  # what tells trials apart before any has ended


@dataclass(frozen=True)
class StudyHandle:
    """An open study."""

    config: TrialConfig
    name: str
    folder: Path
    total: int | None
    command: str
    parent_run_id: str | None

    @property
    def worker_overrides(self) -> tuple[str, ...]:
        """Where a worker on another machine reports: by absolute paths, as its working directory is another."""
        tracking = self.config.tracking
        if tracking.kind == "none":
            return ()
        return tuple(f"tracking.{key}='{getattr(tracking, key)}'" for key in ("uri", "artifacts", "experiment"))

    def display(self) -> AbstractContextManager[Any]:
        """The live display, which reads the trials' progress files."""
        from bai_sweep.progress import StudyDisplay

        return StudyDisplay(self.folder, self.name, self.total)

    def interrupted(self) -> None:
        """Marks the tracker's run as stopped before its end; never raises."""
        from bai_sweep.tracking import open_tracker

        open_tracker(self.config.tracking).finish(self.parent_run_id, "KILLED")


def check_study(config: TrialConfig) -> None:
    """What a study checks before anything of it is written: its inputs, and that the tracker is there.

    Raises:
        UserError: a benchmark, reward, dataset, device or a folder that the selection names is not there, or the
            tracking store refuses.
    """
    from bai_sweep.selection import check_selection
    from bai_sweep.tracking import open_tracker
    from bai_sweep.trial import check_inputs

    check_selection(config.selection)
    check_inputs(config)
    open_tracker(config.tracking).check()


def open_study(
    config: TrialConfig, *, name: str, folder: Path, space: Mapping[str, str], total: int | None, resume: bool
) -> StudyHandle:
    """Opens the tracker's parent run, the earlier one when going on, and notes in the folder what is needed to report.

    Args:
        config: the study's, before any trial's own values.
        name: with its suffix if it has one.
        folder: results/<name>.
        space: the search space as written, by key.
        total: trials to finish, None if open.
        resume: whether the study was begun earlier.
    """
    from bai_sweep.tracking import absolute, mask_text, open_tracker, study_view, swept_columns

    # by absolute paths, so that the study can be resumed and reported from another folder
    config = config.model_copy(update={"tracking": absolute(config.tracking)})
    tracker = open_tracker(config.tracking)
    record = _read_record(folder) if resume else None
    if record and record["parent_run_id"] and record["config"]["tracking"] == config.tracking.model_dump(mode="json"):
        parent_run_id = tracker.reopen(record["parent_run_id"])
        command = str(record["command"])
    else:
        command = mask_text(shlex.join(["python", "-m", "bai_sweep", *sys.argv[1:]]))
        parent_run_id = tracker.start_study(
            name,
            params={
                "study": name,
                "seed": config.seed,
                "workers": config.workers,
                **{f"space.{k}": v for k, v in space.items()},
            },
            tags={"model": config.model.name, "trials": total if total is not None else "open"},
            description=f"Study `{name}`: {', '.join(f'{k} = {v}' for k, v in space.items())}.\n\n`{command}`",
        )
    handle = StudyHandle(config, name, folder, total, command, parent_run_id)
    _write_record(handle)
    if parent_run_id is not None:
        with tracker.attach(parent_run_id, folder) as run:
            swept, trained = swept_columns(space, config), not isinstance(config.rl, NoRL)
            run.log_view(study_view(parent_run_id, swept, list(config.evaluation.benchmarks), trained=trained))
    return handle


def conclude(handle: StudyHandle, *, failures: Mapping[int, str]) -> None:
    """Chooses among the finished trials, writes the report and its figures, tracks them, and prints the table."""
    from bai_sweep.report import print_study
    from bai_sweep.tracking import open_tracker

    tracker = open_tracker(handle.config.tracking)
    try:
        study = write_report(handle.folder)
        with tracker.attach(handle.parent_run_id, handle.folder) as run:
            run.log_metrics({"trials/finished": len(study.results), "trials/failed": len(failures)})
            if study.choice:
                run.set_tags({"recommended": study.recommended or "none", "reason": study.choice.reason})
            for path in _written(handle.folder):
                run.log_artifact(path)
            try:
                _describe(study, run, handle.parent_run_id)
            except Exception:
                log.exception("the study's run could not be described in MLflow; its results and report stand")
    finally:
        tracker.finish(handle.parent_run_id, "FAILED" if failures else "FINISHED")
    print_study(study)
    warn_of_unsent(handle.folder)


def _describe(study: StudyReport, run: TrialRun, run_id: str | None) -> None:
    """The comparison, the best trial's figures and the recommendation, where a reader of the study's run looks."""
    from bai_sweep.report import comparison
    from bai_sweep.tracking import study_note

    if not study.results:
        return
    shown, winner = comparison(study), study.winner
    run.log_table([dict(zip(shown.columns, row, strict=True)) for row in shown.rows], "comparison_table.json")
    # said of no winner too: a study that is gone on with may have had one
    run.set_tags({"best.trial": winner.number if winner else "none", "best.run": (winner and winner.run_id) or "none"})
    if winner:
        run.log_metrics({f"best/{name}": value for name, value in _best(study, winner).items()})
    if run_id:
        by_score = sorted(zip(study.ordered, shown.rows, strict=True), key=lambda pair: _rank(pair[0], winner))
        note = study_note(
            shown.columns,
            [row for _, row in by_score],
            reason=study.choice.reason if study.choice else "",
            command=study.command,
            own=run_id,
            figures=sorted(path.name for path in (study.folder / "figures").glob("*.png")),
        )
        run.set_tags({"mlflow.note.content": note})


def _best(study: StudyReport, winner: TrialResult) -> dict[str, float]:
    """The recommended point's figures, each the mean of its seeds, and its numbers."""
    trials = next(point.trials for point in study.points if winner in point.trials)
    each = [result.metrics() for result in trials]
    common = [name for name in each[0] if all(name in one for one in each) and not name.startswith("seconds/")]
    numbers = {key: value for key, value in winner.params.items() if isinstance(value, int | float) and key != "seed"}
    means = {name.removeprefix("eval/"): math.fsum(one[name] for one in each) / len(each) for name in common}
    return {**means, **numbers}


def _rank(result: TrialResult, winner: TrialResult | None) -> tuple[bool, float]:
    """The recommended trial first, then by score, those without one last."""
    overall = result.report.overall
    return result is not winner, -overall if math.isfinite(overall) else math.inf


def warn_of_unsent(folder: Path) -> None:
    """Says on the terminal if MLflow lacks something of a study or trial, and how to send it."""
    from bai_sweep.tracking import unsent

    if waiting := unsent(folder):
        command = f"python -m bai_sweep.tracking sync {folder}"
        print(f"MLflow did not get all of {len(waiting)} runs; when it is back: {command}", file=sys.stderr)


def write_report(folder: Path, overrides: Sequence[str] = ()) -> StudyReport:
    """(Re)builds the report of a study's folder, finished or not, and returns what it shows.

    Args:
        folder: the study's.
        overrides: of the rule of selection alone: `selection.min_seeds=3`.

    Raises:
        UserError: the folder holds no study, or an override is wrong.
    """
    from bai_sweep.report import markdown, write_figures, write_html, write_tables, write_text

    study = read_study(folder, overrides)
    images = write_figures(study, folder / "figures")
    write_tables(study, folder / "tables")
    write_text(folder / "report.md", markdown(study, images))
    write_html(study, folder / "report.html", images=images)
    return study


def read_study(folder: Path, overrides: Sequence[str] = ()) -> StudyReport:
    """A study as its folder tells: what has ended, what runs, and the choice among what there is.

    Args:
        folder: the study's.
        overrides: of the rule of selection alone.

    Raises:
        UserError: the folder holds no study, or an override is wrong.
    """
    from bai_sweep.report import load_study
    from bai_sweep.selection import check_selection, choose, with_commands
    from bai_sweep.tracking import study_url

    record = _read_record(folder)
    if record is None:
        raise UserError(f"{folder} holds no study ({_RECORD} is not there); give a folder such as results/<study>")
    try:
        config = parse_mapping(record["config"])
    except UserError as error:
        raise UserError(
            f"{folder / _RECORD} was written by another version; add or remove what this one asks for there: {error}"
        ) from error
    if overrides:
        config = parse_mapping(_overridden(record["config"], overrides))
        check_selection(config.selection)
    study = load_study(folder, command=record["command"])
    study = replace(study, running=_running(study, config))
    if record["parent_run_id"] is not None:
        runs = [result.run_id for result in study.results if result.run_id]
        study = replace(study, link=study_url(config.tracking, record["parent_run_id"], runs))
    if study.results:
        choice = choose(study.results, config.selection, config.seed)
        folders = [*config.selection.also, str(folder)]
        study = replace(study, choice=with_commands(choice, record["command"], study.name, folders))
    return study


def _running(study: StudyReport, config: TrialConfig) -> tuple[TrialResult, ...]:
    """The trials that have not ended, with their telemetry and the verdicts on it so far; without scores."""
    from bai_sweep.stability import diagnose
    from bai_sweep.tracking import read_telemetry

    swept = {key for result in study.results for key in result.params}
    planned = None if isinstance(config.rl, NoRL) else config.rl.steps
    found = []
    for number in study.pending:
        telemetry = read_telemetry(study.folder / "trials" / str(number))
        setting = study.settings.get(number)
        if telemetry and setting is not None:
            given = setting.values()
            params = {key: given[key] for key in given if key in (swept or _SWEPT_FIRST)}
            diagnosis = diagnose(telemetry, config.stability, steps=planned)
            unmade = MergeRecipe({}, {})
            found.append(
                TrialResult(number, params, setting.seed, unmade, telemetry, diagnosis, EvalReport(), seconds={})
            )
    return tuple(found)


def _overridden(config: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The configuration with other settings of its selection."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    changed = {**config, "selection": dict(config["selection"])}
    for override in overrides:
        group, _, rest = override.partition(".")
        key, sign, value = rest.partition("=")
        if group != "selection" or not sign:
            raise UserError(f"a report takes selection.<key>=<value>; got {override!r}")
        try:
            tree = OmegaConf.create({"selection": changed["selection"]})
            OmegaConf.update(tree, f"selection.{key}", yaml.safe_load(value), force_add=True)
        except (OmegaConfBaseException, yaml.YAMLError) as error:
            raise UserError(f"{override!r} cannot be read: {' '.join(str(error).split())}") from None
        changed["selection"] = OmegaConf.to_container(tree)["selection"]  # type: ignore[call-overload, index]
    return changed


def _written(folder: Path) -> list[Path]:
    parts = [
        folder / "report.html",
        folder / "report.md",
        *(folder / "figures").iterdir(),
        *(folder / "tables").iterdir(),
    ]
    return sorted(path for path in parts if path.is_file())


def _read_record(folder: Path) -> dict[str, Any] | None:
    path = folder / _RECORD
    if not path.is_file():
        return None
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def _write_record(handle: StudyHandle) -> None:
    handle.folder.mkdir(parents=True, exist_ok=True)
    record = {
        "name": handle.name,
        "command": handle.command,
        "total": handle.total,
        "parent_run_id": handle.parent_run_id,
        "config": handle.config.model_dump(mode="json"),
    }
    partial = handle.folder / (_RECORD + ".partial")
    partial.touch(mode=0o600)  # the store's address may hold a password
    partial.write_text(json.dumps(record, indent=1), encoding="utf-8")
    partial.replace(handle.folder / _RECORD)
