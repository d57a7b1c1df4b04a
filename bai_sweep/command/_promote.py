"""`promote` and `rollback`: which model an alias of the registry points at."""

from __future__ import annotations

import re
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from bai_sweep.command._find import find, newest, parse_arguments
from bai_sweep.config import TrackingConfig
from bai_sweep.records import UserError

if TYPE_CHECKING:
    from bai_sweep.promotion import Study

_PLACE = ("study", "results_dir", "storage")
_REGISTRY = ("to", "name", "yes", "tracking", "tracking.uri", "tracking.experiment")
_OWN = ("trial", "out", "dtype", "force", "reason", "model.base")
_SFT = "model.sft."
_FAILED, _STOPPED = 1, 130
_ALIASES = ("candidate", "production")
_DTYPES = ("float32", "bfloat16", "float16")
_T = TypeVar("_T", bound=str)

PROMOTE_USAGE = """\
usage: python -m bai_sweep promote [study=<name>] [trial=<number>] [to=production] [key=value ...]

Merges a trial's actor, as it was before PPO, into a model folder, and registers it in MLflow's model registry.

  study=, results_dir=   which study; the one begun last, in results
  storage=               the database of a study whose folder is to be found there
  trial=                 which trial; the recommended one
  to=candidate           the alias: candidate, or production (also --to production), which is asked for
  yes=false              true: production is moved without asking; needed without a terminal
  out=                   the model's folder; results/<study>/promoted/<study>-trial-<trial>
  dtype=float32          of its weights: float32, bfloat16 or float16
  name=                  the registered model's; bai-<model name>
  force=false            true: promote a trial that is not eligible ...
  reason=                ... and why, which card and version will say
  tracking=, tracking.uri=, tracking.experiment=   where to register; where the study reports. tracking=none: nowhere
  model.base=, model.sft.<name>=   where a model is now, if it has moved

docs/promotion.md has more. `python -m bai_sweep rollback` moves the alias back.
"""
ROLLBACK_USAGE = """\
usage: python -m bai_sweep rollback [study=<name>] [to=production] [name=<registered model>] [yes=true] [key=value ...]

Points an alias of MLflow's model registry at the version that it pointed at before. Nothing is deleted.

  study=, results_dir=, storage=   the study whose model and registry are meant; the one begun last
  to=production          the alias: production or candidate
  yes=false              true: without asking; needed without a terminal
  name=                  the registered model's; bai-<model name>
  tracking.uri=          where the registry is; where the study reports
"""


def promote(arguments: Sequence[str]) -> None:
    """Promotes a trial and says what came of it.

    Raises:
        UserError: Bad input, or a trial that may not be promoted.
        SystemExit: 1 where the folder is finished and could not be registered, 130 after a Ctrl-C.
    """
    if _helped(arguments, PROMOTE_USAGE):
        return
    given = _parsed(arguments, (*_PLACE, *_REGISTRY, *_OWN))
    alias = cast("Literal['candidate', 'production']", _one_of(given, "to", _ALIASES))
    agree = _asking(given, needed=alias == "production")
    dtype = cast("Literal['float32', 'bfloat16', 'float16']", _one_of(given, "dtype", _DTYPES))
    trial, force = _trial(given), _flag(given, "force")
    _ended(lambda: _promote(given, arguments, trial=trial, alias=alias, dtype=dtype, force=force, agree=agree))


def _promote(
    given: Mapping[str, str],
    arguments: Sequence[str],
    *,
    trial: int | None,
    alias: Literal["candidate", "production"],
    dtype: Literal["float32", "bfloat16", "float16"],
    force: bool,
    agree: Callable[[str], bool],
) -> None:
    from bai_sweep.promotion import Request, promote
    from bai_sweep.tracking import mask_text
    from bai_sweep.trial import quiet_libraries

    quiet_libraries()
    study = _study(given)
    moved = {key.removeprefix(_SFT): place for key, place in given.items() if key.startswith(_SFT)}
    if "model.base" in given:
        moved["base"] = given["model.base"]
    request = Request(
        study=study,
        command=mask_text(shlex.join(["python", "-m", "bai_sweep", "promote", *arguments])),
        trial=trial,
        out=given.get("out"),
        to=alias,
        name=given.get("name"),
        dtype=dtype,
        force=force,
        reason=given.get("reason", ""),
        tracking=_tracking(given, study.tracking),
        moved=moved,
    )
    done = promote(request, say=lambda line: print(line, flush=True), agree=agree)
    version = "none: nothing is tracked" if done.version is None else f"{done.version.number} of {done.name}, {alias}"
    promotion = done.folder.promotion
    print(f"folder   {done.folder.path}\nversion  {version}\nscores   {promotion['scores_command']}")


def rollback(arguments: Sequence[str]) -> None:
    """Moves an alias back and says where it is.

    Raises:
        UserError: Bad input, or nothing to go back to.
        SystemExit: 1 where the registry is away, 130 after a Ctrl-C.
    """
    if _helped(arguments, ROLLBACK_USAGE):
        return
    given = _parsed(arguments, (*_PLACE, *_REGISTRY))
    alias = _one_of({"to": "production", **given}, "to", _ALIASES)
    agree = _asking(given, needed=True)
    _ended(lambda: _rollback(given, alias, agree))


def _rollback(given: Mapping[str, str], alias: str, agree: Callable[[str], bool]) -> None:
    from bai_sweep.promotion import rollback

    # with both, no study is needed
    study = None if {"name", "tracking.uri"} <= set(given) else _study(given)
    tracking = _tracking(given, None if study is None else study.tracking)
    name = given.get("name") or (study.registered_name if study is not None else "")
    version = rollback(tracking, name, alias, agree=agree)
    print(f"{alias} of {name}: {version.describe()}\nfiles    {version.source}")


def _helped(arguments: Sequence[str], usage: str) -> bool:
    if {"-h", "--help"}.isdisjoint(arguments):
        return False
    print(usage, end="")
    return True


def _parsed(arguments: Sequence[str], keys: Sequence[str]) -> dict[str, str]:
    """`key=value` each, and `--to <alias>`.

    Raises:
        UserError: Something else, or a key twice.
    """
    words: list[str] = []
    rest = iter(arguments)
    for word in rest:
        words.append(f"to={next(rest, '')}" if word == "--to" else word.removeprefix("--"))
    named = [key for word in words if (key := word.partition("=")[0]).startswith(_SFT) and "model.base" in keys]
    given = parse_arguments(words, (*keys, *named))
    if "name" in given and not re.fullmatch(r"[\w.-]+", given["name"]):
        raise UserError(f"a registered model's name has letters, digits, '.', '_' and '-'; got {given['name']!r}")
    if len(given) != len(words):
        raise UserError(f"each key is given once; got {' '.join(words)}")
    return given


def _one_of(given: Mapping[str, str], key: str, known: tuple[_T, ...]) -> _T:
    value = given.get(key, known[0])
    if value not in known:
        raise UserError(f"{key} is {' or '.join(known)}; got {key}={value or 'nothing'}")
    return value


def _flag(given: Mapping[str, str], key: str) -> bool:
    return _one_of(given, key, ("false", "true")) == "true"


def _trial(given: Mapping[str, str]) -> int | None:
    number = given.get("trial")
    if number is None:
        return None
    if not number.isdecimal():
        raise UserError(f"trial=<number>, as in the study's table; got trial={number or 'nothing'}")
    return int(number)


def _folder(given: Mapping[str, str]) -> Path:
    if "storage" in given:
        return find(given).folder
    results = Path(given.get("results_dir", "results"))
    return results / given["study"] if "study" in given else newest(results)


def _study(given: Mapping[str, str]) -> Study:
    from bai_sweep.promotion import read_study

    return read_study(_folder(given))


def _tracking(given: Mapping[str, str], own: TrackingConfig | None) -> TrackingConfig:
    """Where the registry is: where the study reports, but for what is given."""
    kind = given.get("tracking")
    changes = {key: given[f"tracking.{key}"] for key in ("uri", "experiment") if f"tracking.{key}" in given}
    if own is not None and kind in (None, own.kind) and (own.kind == "mlflow" or not changes):
        return own.model_copy(update=changes)
    from omegaconf import OmegaConf

    from bai_sweep.sources import packaged_dir

    kind = _one_of({"tracking": kind or "mlflow"}, "tracking", ("mlflow", "none"))
    values: Any = OmegaConf.to_container(OmegaConf.load(packaged_dir("conf") / "tracking" / f"{kind}.yaml"))
    return TrackingConfig.model_validate({**values, **changes})


def _asking(given: Mapping[str, str], *, needed: bool) -> Callable[[str], bool]:
    """Asks on the terminal; with `yes=true` only shows.

    Raises:
        UserError: Nobody can be asked.
    """
    sure = _flag(given, "yes")
    if needed and not sure and not sys.stdin.isatty():
        raise UserError("production is moved when somebody agrees; without a terminal to ask on give yes=true")

    def agree(shown: str) -> bool:
        print(shown, flush=True)
        return sure or input("move it? [y/N] ").strip().lower() in ("y", "yes")

    return agree


def _ended(action: Callable[[], None]) -> None:
    """Runs an action; what ends it early is said, and is the exit code."""
    from bai_sweep.promotion import RegistryError

    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        action()
    except RegistryError as error:
        print(error, file=sys.stderr)
        sys.exit(_FAILED)
    except (KeyboardInterrupt, EOFError):
        print("stopped; the same command goes on", file=sys.stderr)
        sys.exit(_STOPPED)
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
