"""An alias, back at the version before."""

from __future__ import annotations

from collections.abc import Callable

from bai_sweep.config import TrackingConfig
from bai_sweep.promotion._registry import Registry, Version
from bai_sweep.records import UserError


def rollback(tracking: TrackingConfig, name: str, alias: str, *, agree: Callable[[str], bool]) -> Version:
    """Moves an alias to the version that it pointed at before; nothing is deleted.

    Args:
        tracking: Where the registry is.
        name: The registered model's.
        alias: Which one.
        agree: Gets both versions, and says whether it may.

    Returns:
        The version it points at now.

    Raises:
        UserError: It never pointed at another, or it was not agreed to.
        RegistryError: The registry is out of reach, or refuses.
    """
    if tracking.kind == "none":
        raise UserError("tracking=none has no registry to roll back in; give tracking.uri=...")
    registry = Registry(tracking, name)
    current, earlier = registry.at(alias), registry.before(alias)
    if earlier is None:
        where = "points at nothing" if current is None else f"is at version {current.number}, none before is known"
        raise UserError(f"{alias} of {name} at {registry.address} {where}: there is nothing to go back to")
    now = "nothing" if current is None else current.describe()
    if not agree(f"{alias} of {name}\n  now   {now}\n  back  {earlier.describe()}"):
        raise UserError(f"not agreed to: {alias} of {name} is as it was")
    registry.back(alias, earlier)
    return earlier
