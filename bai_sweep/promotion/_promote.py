"""Promotion from the study to the alias."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bai_sweep.config import TrackingConfig
from bai_sweep.promotion._folder import Finished, finished_folder, place_of
from bai_sweep.promotion._record import verdict_of
from bai_sweep.promotion._registry import Registry, RegistryError, Version
from bai_sweep.promotion._study import Study
from bai_sweep.promotion._subject import Subject, find_subject
from bai_sweep.promotion._upload import stored
from bai_sweep.records import UserError

Say = Callable[[str], object]
Agree = Callable[[str], bool]


@dataclass(frozen=True)
class Request:
    """What is asked for; docs/promotion.md says what each is.

    Args:
        study: As it stands.
        command: What was typed, for the record.
        trial: None for the recommended one.
        out: Where the model's folder goes; None for a place in the study's folder.
        to: The alias.
        name: The registered model's; None for `bai-<model name>`.
        dtype: Of the weights.
        force: Promote a trial that is not eligible.
        reason: Why.
        tracking: Where to register; None for where the study reports.
        moved: Where models are now, by name.
    """

    study: Study
    command: str
    trial: int | None = None
    out: str | None = None
    to: Literal["candidate", "production"] = "candidate"
    name: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    force: bool = False
    reason: str = ""
    tracking: TrackingConfig | None = None
    moved: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Promoted:
    """What came of it.

    Args:
        folder: The model's.
        version: Its version, None where nothing is tracked.
        name: The registered model's.
    """

    folder: Finished
    version: Version | None
    name: str


def promote(request: Request, *, say: Say, agree: Agree) -> Promoted:
    """Makes the folder of a trial's actor, registers it, and points the alias at it.

    The same call goes on where an earlier one ended: a folder that is finished is not merged again, a version that is
    registered not made again.

    Args:
        request: What is asked for.
        say: Gets lines for people.
        agree: Gets what an alias would replace, and says whether it may; asked for production only.

    Raises:
        UserError: The trial may not be promoted, its models have changed, the folder cannot be made, or it was not
            agreed to.
        RegistryError: The folder is finished and could not be registered.
    """
    subject = find_subject(
        request.study, request.trial, force=request.force, reason=request.reason, moved=request.moved
    )
    place = place_of(subject, request.out, request.dtype)
    name = request.name or subject.study.registered_name
    tracking = request.tracking or subject.study.tracking
    alias = _Alias(Registry(tracking, name), request.to, subject, agree) if tracking.kind == "mlflow" else None
    if alias is not None:
        alias.ask_early(say, place)
    say(f"trial {subject.number} of study {subject.study.name} ({subject.label}): {subject.standing.says}")
    finished = finished_folder(subject, place, dtype=request.dtype, command=request.command)
    say(f"{place} {'stood already' if finished.reused else 'is whole'}: {finished.manifest['actor']['checked']}")
    if alias is None:
        return Promoted(finished, None, name)
    try:
        version = _registered(alias.registry, subject, finished)
        alias.move(version)
    except RegistryError as error:
        raise RegistryError(
            f"{error}\nthe model is whole in {place}; nothing else was changed. When MLflow is back, the same command "
            "registers it without merging again"
        ) from error
    return Promoted(finished, version, name)


@dataclass
class _Alias:
    """An alias that is to be moved, and what its move was agreed to replace."""

    registry: Registry
    name: str
    subject: Subject
    agree: Agree
    agreed: tuple[Version | None] | None = None

    def ask_early(self, say: Say, place: Path) -> None:
        """Before the merge, which takes its time; without MLflow the folder is made all the same."""
        try:
            current = self.registry.at(self.name)
            if current is None or current.tags.get("folder") != str(place) or not place.exists():
                self._ask(current)
        except RegistryError as error:
            say(f"{error}; the model's folder is made first")

    def move(self, version: Version) -> None:
        """Points the alias at the version, if it still replaces what was agreed to."""
        current = self.registry.at(self.name)
        if current != version:
            self._ask(current)
        self.registry.point(self.name, version)

    def _ask(self, current: Version | None) -> None:
        if self.name != "production" or self.agreed == (current,):
            return
        now = "nothing" if current is None else current.describe()
        new = "; ".join(part for part in _facts(self.subject).values() if part)
        if not self.agree(f"{self.name} of {self.registry.name}\n  now  {now}\n  new  {new}"):
            raise UserError(f"not agreed to: {self.name} of {self.registry.name} is as it was")
        self.agreed = (current,)


def _registered(registry: Registry, subject: Subject, finished: Finished) -> Version:
    promotion = str(finished.promotion["id"])
    if (version := registry.made_of(promotion)) is not None:
        return version
    known = registry.tracking.uri == subject.study.tracking.uri
    run_id = subject.result.run_id if subject.result and known else None
    source, run_id = stored(registry, finished.path, run_id)
    return registry.register(source, run_id, _tags(subject, finished), _description(subject, finished))


def _facts(subject: Subject) -> dict[str, str]:
    """What a version is told from others by."""
    report = subject.result.report if subject.result else None
    score = ""
    if report is not None and math.isfinite(report.overall):
        error = f" ± {report.overall_stderr:.1f}" if math.isfinite(report.overall_stderr) else ""
        score = f"overall {report.overall:.1f}{error}"
    return {
        "recipe": subject.recipe.formula(),
        "origin": f"study {subject.study.name}, trial {subject.number} ({subject.label})",
        "score": score,
        "verdict": verdict_of(subject.result),
        "standing": subject.standing.says,
        "forced": "" if subject.forced is None else f"{subject.standing.fault}; reason: {subject.forced}",
    }


def _tags(subject: Subject, finished: Finished) -> dict[str, str]:
    tags = {key: value for key, value in _facts(subject).items() if value}
    tags |= {"study": subject.study.name, "trial": str(subject.number), "training": subject.setup.training}
    if subject.result is not None:
        tags |= {f"params.{key}": str(value) for key, value in subject.result.params.items()}
        tags |= {f"eval/{score.benchmark}": f"{score.value:.2f}" for score in subject.result.report.scores}
    actor = finished.manifest["actor"]
    tags |= {"dtype": str(finished.manifest["dtype"]), "actor.sha256": str(actor["sha256"])}
    return tags | {"folder": str(finished.path), "bai.promotion": str(finished.promotion["id"])}


def _description(subject: Subject, finished: Finished) -> str:
    lines = [f"{key}: {value}" for key, value in _facts(subject).items() if value]
    lines.append(f"The merge before PPO ({subject.setup.training}). Its card is README.md in {finished.path}.")
    return "\n\n".join(lines)
