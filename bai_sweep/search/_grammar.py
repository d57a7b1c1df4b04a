"""Hydra's override grammar, read as a search space.

`a=1,2`, `choice(..)`, `range(..)`, `interval(..)`, `int(interval(..))`, `tag(log, interval(..))`, `sort(..)`,
`shuffle(..)` and `glob(..)` sweep a key; any other override holds for all trials. Hydra's own parser reads them.
Two things differ from Hydra's sweepers: `range` counts in decimals, so that `range(0, 1, 0.3)` ends with 0.9 and
not with 0.8999999999999999, and `shuffle` always gives one order for one text, so that a resumed study keeps it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from decimal import Decimal

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    QuotedString,
    RangeSweep,
    Transformer,
)
from hydra.errors import HydraException

from bai_sweep.records import UserError
from bai_sweep.search._space import Choices, Dimension, Interval, Space, Steps, Value

_NOT_SWEPT = ("study", "resume", "workers", "threads", "results_dir")  # they are the study's, not a trial's
_NOT_A_TRIALS = ("resume", "study")  # set by the study for each of its trials


def parse_space(overrides: Sequence[str], config_loader: ConfigLoader) -> Space:
    """Reads overrides; of two for one key, the later counts, in the place of the first.

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
            dimensions.append(_dimension(override))
        except ValueError as error:
            faults.append(f"  - {override.input_line}: {error}")
    if faults:
        raise UserError("bad search space:\n" + "\n".join(faults))
    fixed = tuple(str(o.input_line) for o in plain if o.key_or_group not in _NOT_A_TRIALS)
    return Space(tuple(dimensions), fixed)


def _dimension(override: Override) -> Dimension:
    key, name = override.key_or_group, override.get_key_element()
    if key in _NOT_SWEPT:
        raise ValueError(f"{key} is a setting of the whole study and cannot be swept")
    text = str(override.input_line).split("=", 1)[1]
    sweep = override.value()
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


def _scalar(raw: object, element: str) -> Value:
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
