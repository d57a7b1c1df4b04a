"""The trial that is promoted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bai_sweep.merging import recipe_of
from bai_sweep.promotion._setup import Setup, read_setup
from bai_sweep.promotion._study import Standing, Study, number_of, standing_of
from bai_sweep.records import MergeRecipe, TrialResult, UserError


@dataclass(frozen=True)
class Subject:
    """A trial that may be promoted.

    Args:
        study: Its study.
        number: Its number.
        setup: How it was set up.
        result: What came of it; None if it has not finished.
        standing: Where it stands in its study.
        forced: The reason for which it is promoted although it may not be; None if it may.
    """

    study: Study
    number: int
    setup: Setup
    result: TrialResult | None
    standing: Standing
    forced: str | None

    @property
    def recipe(self) -> MergeRecipe:
        """What the trial merged."""
        return self.result.recipe if self.result else recipe_of(self.setup.model, self.setup.actor)

    @property
    def label(self) -> str:
        """`alpha=0.5`, or the trial's number."""
        return self.result.label if self.result else f"trial {self.number}"

    @property
    def digest(self) -> str | None:
        """Of the actor that the trial's PPO started from, if it was noted."""
        return self.recipe.digest


def find_subject(study: Study, number: int | None, *, force: bool, reason: str, moved: Mapping[str, str]) -> Subject:
    """The trial that is meant, if it may be promoted.

    Args:
        study: Its study.
        number: The trial's; the recommended one where None.
        force: Promote it although it is not eligible.
        reason: Why; needed with `force`.
        moved: Where models are now, by name, if they have moved.

    Raises:
        UserError: There is no such trial, or it is not eligible and nobody answers for it.
    """
    number = number_of(study, number)
    standing = standing_of(study, number)
    if standing.fault is not None and not force:
        raise UserError(
            f"trial {number} of study {study.name} is not eligible: {standing.fault}. Promote another, or answer for "
            "it with force=true reason='...', which the model's card and its version will say"
        )
    if force and not reason.strip():
        raise UserError("force=true needs a reason, which is recorded: reason='...'")
    if reason and not force:
        raise UserError(f"a reason is for force=true, which is not set; got reason={reason!r}")
    result = study.results.get(number)
    setup = read_setup(study.folder / "trials" / str(number), result.recipe if result else None, moved)
    forced = " ".join(reason.split()) if standing.fault is not None else None
    return Subject(study, number, setup, result, standing, forced)
