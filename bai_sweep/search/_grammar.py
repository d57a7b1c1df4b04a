"""Hydra's override grammar, read as a search space.

`a=1,2`, `choice(..)`, `range(..)`, `interval(..)`, `int(interval(..))`, `tag(log, interval(..))`, `sort(..)`,
`shuffle(..)` and `glob(..)` sweep a key; any other override holds for all trials. Hydra's own parser reads them.
A mapping of weights is swept as a whole: `weights=tag(simplex, interval(0, 1))`, and with `range(0, 1, 0.25)` in place
of the interval over the weights that are multiples of 0.25.
Two things differ from Hydra's sweepers: `range` counts in decimals, so that `range(0, 1, 0.3)` ends with 0.9 and
not with 0.8999999999999999, and `shuffle` always gives one order for one text, so that a resumed study keeps it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from decimal import Decimal

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    QuotedString,
    RangeSweep,
    Sweep,
    Transformer,
)
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from bai_sweep.records import UserError
from bai_sweep.search._dimensions import Choices, Dimension, Interval, Scalar, Steps
from bai_sweep.search._simplex import Simplex, lattice
from bai_sweep.search._space import Condition, Space

_NOT_SWEPT = ("study", "resume", "force", "workers", "threads", "seeds", "results_dir")  # the study's, not a trial's
_NOT_A_TRIALS = ("resume", "force", "study")  # set by the study for each of its trials


def parse_space(
    overrides: Sequence[str],
    config_loader: ConfigLoader,
    config: DictConfig,
    conditions: Mapping[str, str | Sequence[str]],
) -> Space:
    """Reads overrides; of two for one key, the later counts, in the place of the first.

    Args:
        overrides: as on the command line.
        config_loader: knows the config groups.
        config: the configuration without the sweep, in which a mapping of weights names its members.
        conditions: when a swept key counts: `key=value` or `key=value,value` of other swept keys, by its own.

    Raises:
        UserError: an override that cannot be parsed or swept, all of them in one message.
    """
    try:
        parsed = OverridesParser.create(config_loader=config_loader).parse_overrides(list(overrides))
    except HydraException as error:
        raise UserError(f"bad search space: {error}") from None
    by_key = {(o.key_or_group, o.package, o.is_delete()): o for o in parsed}
    swept = [o for o in by_key.values() if o.is_sweep_override()]
    plain = [o for o in by_key.values() if not o.is_sweep_override()]
    dimensions: list[Dimension] = []
    faults: list[str] = []
    for override in swept:
        try:
            dimensions.append(_dimension(override, config))
        except ValueError as error:
            faults.append(f"  - {override.input_line}: {error}")
    try:
        parsed_conditions = _conditions(conditions, [o.key_or_group for o in swept])
        _refuse_what_never_holds(parsed_conditions, dimensions)
    except ValueError as error:
        faults.append(f"  - hydra.sweeper.conditions: {error}")
    if faults:
        raise UserError("bad search space:\n" + "\n".join(faults))
    fixed = tuple(str(o.input_line) for o in plain if o.key_or_group not in _NOT_A_TRIALS)
    return Space(tuple(dimensions), fixed, parsed_conditions)


def _conditions(raw: Mapping[str, str | Sequence[str]], swept: Sequence[str]) -> dict[str, tuple[Condition, ...]]:
    found: dict[str, tuple[Condition, ...]] = {}
    for key, texts in raw.items():
        listed = [texts] if isinstance(texts, str) else list(texts)
        parts = [text.partition("=") for text in listed]
        if bad := [text for text, (_, sign, values) in zip(listed, parts, strict=True) if not sign or not values]:
            raise ValueError(f"a condition is key=value or key=value,value; got {bad[0]!r}")
        if strange := [name for name in (key, *(part[0] for part in parts)) if name not in swept]:
            raise ValueError(f"{strange[0]} is not swept; swept are {', '.join(swept) or 'no keys'}")
        found[key] = tuple(Condition(name, tuple(v.strip() for v in values.split(","))) for name, _, values in parts)
    _refuse_circles(found)
    return found


def _refuse_circles(conditions: Mapping[str, Sequence[Condition]]) -> None:
    for key in conditions:
        seen, waiting = set[str](), [key]
        while waiting:
            needed = [c.key for c in conditions.get(waiting.pop(), ())]
            if key in needed:
                raise ValueError(f"{key} depends on itself")
            waiting += [name for name in needed if name not in seen]
            seen.update(needed)


def _refuse_what_never_holds(conditions: Mapping[str, Sequence[Condition]], dimensions: Sequence[Dimension]) -> None:
    finite = {d.key: d for d in dimensions if d.choices is not None}
    for condition in (c for listed in conditions.values() for c in listed if c.key in finite):
        known = finite[condition.key]
        for value in condition.values:
            if not any(Condition(known.key, (value,)).holds(known, choice) for choice in known.choices or ()):
                raise ValueError(f"{known.key} is never {value}; it is {known.text}")


def _dimension(override: Override, config: DictConfig) -> Dimension:
    key, name = override.key_or_group, override.get_key_element()
    if key in _NOT_SWEPT:
        raise ValueError(f"{key} is a setting of the whole study and cannot be swept")
    text = str(override.input_line).split("=", 1)[1]
    sweep = override.value()
    if isinstance(sweep, Sweep) and "simplex" in sweep.tags:
        return _simplex(key, name, text, sweep, config)
    if isinstance(sweep, IntervalSweep):
        return _interval(key, name, text, sweep)
    if isinstance(sweep, RangeSweep):
        return _range(key, name, text, sweep)
    raw = list(sweep.list) if isinstance(sweep, ChoiceSweep) else list(override.sweep_iterator())
    if isinstance(sweep, ChoiceSweep) and sweep.shuffle:
        random.Random(text).shuffle(raw)
    return _choices(key, name, text, raw)


def _choices(key: str, name: str, text: str, raw: Sequence[object]) -> Choices:
    elements = tuple(Transformer.str(x) for x in raw)  # type: ignore[arg-type]
    if not elements:
        raise ValueError("nothing matches")
    if len(set(elements)) < len(elements):
        raise ValueError("the same value stands here twice; trials with one configuration and seed are equal")
    values = tuple(_scalar(x, element) for x, element in zip(raw, elements, strict=True))
    # 1 == True == 1.0: where values cannot be told apart, their texts can.
    return Choices(key, name, text, values if len(set(values)) == len(values) else elements, elements)


def _simplex(key: str, name: str, text: str, sweep: Sweep, config: DictConfig) -> Dimension:
    node = OmegaConf.select(config, key)
    members = tuple(map(str, node)) if isinstance(node, DictConfig) else ()
    if len(members) < 2:
        raise ValueError(f"a simplex is of a mapping with two members or more, as weights is; {key} is {node}")
    if isinstance(sweep, IntervalSweep) and (sweep.start, sweep.end) == (0, 1):
        return Simplex(key, name, text, members)
    if not isinstance(sweep, RangeSweep) or sweep.start != 0 or sweep.stop not in (1, None):
        raise ValueError("a simplex is tag(simplex, interval(0, 1)) or tag(simplex, range(0, 1, step))")
    parts = round(1 / float(sweep.step)) if sweep.step else 0
    if parts < 1 or abs(parts * float(sweep.step) - 1) > 1e-9:
        raise ValueError(f"the step of a simplex divides 1; got {sweep.step}")
    points = lattice(members, parts)
    written = tuple(f"{{{','.join(f'{m}: {w!r}' for m, w in point.items())}}}" for point in points)
    return Choices(key, name, text, tuple(points), written)


def _scalar(raw: object, element: str) -> Scalar:
    if isinstance(raw, QuotedString):
        return raw.text
    return raw if raw is None or isinstance(raw, str | int | float) else element


def _range(key: str, name: str, text: str, sweep: RangeSweep) -> Dimension:
    start, stop, step = (Decimal(str(x)) for x in (sweep.start, sweep.stop, sweep.step))
    if step == 0:
        raise ValueError("the step of a range is not 0")
    exact: list[Decimal] = []
    while (start < stop) if step > 0 else (start > stop):
        exact.append(start)
        start += step
    if not exact:
        raise ValueError("the range is empty")
    integers = all(isinstance(x, int) for x in (sweep.start, sweep.stop, sweep.step))
    values: list[int] | list[float] = [int(x) for x in exact] if integers else [float(x) for x in exact]
    if sweep.shuffle:
        random.Random(text).shuffle(values)
    return Steps(key, name, text, tuple(values), float(abs(step)))


def _interval(key: str, name: str, text: str, sweep: IntervalSweep) -> Interval:
    low, high, log = sweep.start, sweep.end, "log" in sweep.tags
    if low is None or high is None or not low < high:
        raise ValueError(f"an interval goes from low to high; got {low} to {high}")
    if log and low <= 0:
        raise ValueError(f"a logarithmic interval starts above 0; got {low}")
    return Interval(key, name, text, low, high, log)
