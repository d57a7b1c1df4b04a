"""Checks the points of a search space before the first trial: better one message now than a failure at 3 am."""

from __future__ import annotations

from hydra.core.config_loader import ConfigLoader
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from bai_sweep.config import TrialConfig, parse
from bai_sweep.records import UserError
from bai_sweep.search._compose import Composer
from bai_sweep.search._dimensions import Point
from bai_sweep.search._space import Space

# Hydra may take a tenth of a second for each. Beyond this many, each key's values are checked one by one.
CHECKED_COMBINATIONS = 32
_SHOWN = 10


def check_points(space: Space, config: DictConfig, loader: ConfigLoader) -> list[TrialConfig]:
    """Composes and parses grid points; of an interval, its two ends.

    Returns:
        the configurations of the points checked, in the order of the grid.

    Raises:
        UserError: the faults of every bad point, in one message.
    """
    points, composer = space.probes(CHECKED_COMBINATIONS), Composer(config, loader)
    good: list[TrialConfig] = []
    bad: dict[str, list[str]] = {}  # the points that have a fault, by the fault
    for point in points:
        checked = _checked(space, point, composer)
        if isinstance(checked, TrialConfig):
            good.append(checked)
            continue
        for fault in checked:
            bad.setdefault(fault, []).append(_named(space, point))
    if not bad:
        return good
    count = len({name for names in bad.values() for name in names})
    lines = [f"bad search space, {count} of {len(points)} points checked are not valid:"]
    for fault, names in list(bad.items())[:_SHOWN]:
        others = f", and {len(names) - 1} more" if len(names) > 1 else ""
        lines += [f"  - {fault}", f"      at {names[0]}{others}"]
    if len(bad) > _SHOWN:
        lines.append(f"  ... and {len(bad) - _SHOWN} other faults")
    raise UserError("\n".join(lines))


def _named(space: Space, point: Point) -> str:
    return " ".join(d.override(point[d.key]) for d in space.dimensions if d.key in point) or "the configuration"


def _checked(space: Space, point: Point, composer: Composer) -> TrialConfig | list[str]:
    """A point's configuration, or its faults."""
    try:
        return parse(composer.compose(space.overrides(point)))
    except UserError as error:
        lines = str(error).splitlines()
        return [line.strip().removeprefix("- ") for line in lines[1:]] or lines
    except (HydraException, OmegaConfBaseException) as error:
        # Hydra lists options one a line, then the search path.
        said = str(error).partition("Config search path")[0] + str(error.__cause__ or "")
        return [" ".join(said.split())]
