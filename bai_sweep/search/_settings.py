"""What conf/hydra/sweeper/bai.yaml may say; the defaults are there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from omegaconf import DictConfig, ListConfig, OmegaConf
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from bai_sweep.records import UserError


def _plain(value: object) -> object:
    return OmegaConf.to_container(value, resolve=True) if isinstance(value, DictConfig | ListConfig) else value


class SearchSettings(BaseModel):
    """The sweeper's settings, checked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    params: Annotated[dict[str, Any] | list[str] | None, BeforeValidator(_plain)]
    n_trials: Annotated[int, Field(ge=1)] | None
    objective: str
    direction: Literal["maximize", "minimize"]
    sampler: Annotated[dict[str, Any], BeforeValidator(_plain)]
    storage: str | None
    max_attempts: Annotated[int, Field(ge=1)]
    lease_seconds: Annotated[float, Field(gt=0)]
    study_functions: str | None

    @property
    def is_grid(self) -> bool:
        """Whether every point is tried, so that no trial's objective decides about another trial."""
        return self.n_trials is None

    def overrides(self) -> list[str]:
        """`params` as overrides; the command line's come after them and win."""
        if isinstance(self.params, dict):
            return [f"{key}={value}" for key, value in self.params.items()]
        return list(self.params or [])


def parse_settings(raw: Mapping[str, Any]) -> SearchSettings:
    """Checks the sweeper's settings.

    Raises:
        UserError: names every fault with its key and value.
    """
    try:
        return SearchSettings.model_validate(dict(raw))
    except ValidationError as error:
        faults = [
            f"  - hydra.sweeper.{'.'.join(map(str, fault['loc']))}: {fault['msg']} (got {fault['input']!r})"
            for fault in error.errors()
        ]
        raise UserError("bad sweeper settings:\n" + "\n".join(faults)) from None
