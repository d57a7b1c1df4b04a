"""Python callables as rewards, with TRL's signature.

`fn(prompts=..., completions=..., completion_ids=..., **columns)`, sync or async, returns a float or None for each
completion. As in TRL, completions are text where prompts are text, and lists of one message where prompts are
conversations; and `trainer_state`, `log_extra` and `log_metric` are offered.
"""

from __future__ import annotations

import copy
import functools
import importlib
import inspect
import traceback
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, final

from bai_sweep.ppo.rewards._rewards import Completions, RewardTools
from bai_sweep.records import UserError

GIVEN = ("prompts", "completions", "completion_ids")
OFFERED = ("trainer_state", "log_extra", "log_metric")
ANY = inspect.Parameter.VAR_KEYWORD


def import_function(name: str) -> Any:
    """What `package.module:name` names.

    Raises:
        UserError: There is no such module or attribute.
    """
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(f"a reward function is importable as 'package.module:name'; {name!r}: {error}") from error


@final
class FunctionReward:
    """A callable.

    Args:
        function: The callable.
        name: For messages.

    Raises:
        UserError: It is not callable, or TRL misses a package to run it.
    """

    def __init__(self, function: Any, name: str) -> None:
        if not callable(function):
            raise UserError(f"a reward function is callable; {name!r} is of type {type(function).__name__}")
        self.function: Callable[..., Any] = function
        self.name = name
        try:
            self._parameters = dict(inspect.signature(function).parameters)
        except ValueError:  # a builtin that does not say
            self._parameters = {"kwargs": inspect.Parameter("kwargs", ANY)}
        self._takes_any = any(p.kind is ANY for p in self._parameters.values())
        if str(getattr(function, "__module__", "")).startswith("trl.rewards"):
            self._try_out()

    def _try_out(self) -> None:
        """Calls TRL's function with no completions: it looks for its optional package, math-verify, only then."""
        try:
            self.function(prompts=[], completions=[], completion_ids=[], solution=[])
        except ImportError as error:
            raise UserError(
                f"a reward function has the packages it needs; {self.name!r}: {error}; "
                "pip install 'math-verify[antlr4_9_3]>=0.8'"
            ) from error

    def check(self, columns: Collection[str]) -> None:
        """Compares the function's signature with what it will be given.

        Raises:
            UserError: It cannot take some of it (TRL too would fail), or needs something that is not there.
        """
        given = [*GIVEN, *columns]
        named = {n: p for n, p in self._parameters.items() if p.kind not in {ANY, inspect.Parameter.VAR_POSITIONAL}}
        if not self._takes_any and (refused := [name for name in given if name not in named]):
            raise UserError(
                f"a reward function takes prompts, completions, completion_ids and every column of the dataset as "
                f"keyword arguments; {self.name!r} does not take {', '.join(refused)}; add **kwargs to its parameters"
            )
        needed = [name for name, parameter in named.items() if parameter.default is inspect.Parameter.empty]
        if missing := [name for name in needed if name not in {*given, *OFFERED}]:
            raise UserError(
                f"a reward function is given {', '.join(GIVEN)}, the dataset's columns "
                f"({', '.join(columns) or 'there is none beside the prompt'}), {', '.join(OFFERED)}; {self.name!r} "
                f"needs {', '.join(missing)} too; add such a column to the dataset, or give the parameter a default"
            )

    def __call__(self, done: Completions, tools: RewardTools) -> Any:
        """Calls it, with conversations where the prompts are conversations, else with text."""
        completions = [
            text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]
            for prompt, text in zip(done.batch.prompts, done.texts, strict=True)
        ]
        offered = {
            "trainer_state": tools.trainer_state,
            "log_extra": _not_logged,
            "log_metric": tools.log_metric,
        }
        try:
            values = self.function(
                prompts=copy.deepcopy(list(done.batch.prompts)),  # what it changes of them is its own
                completions=completions,
                completion_ids=[list(ids) for ids in done.token_ids],
                **{name: copy.deepcopy(list(column)) for name, column in done.batch.columns.items()},
                **{name: tool for name, tool in offered.items() if self._takes_any or name in self._parameters},
            )
        except Exception as error:
            raise self._failure(error, tools.step) from error
        return self._awaited(values, tools.step) if inspect.isawaitable(values) else values

    async def _awaited(self, values: Any, step: int) -> Any:
        try:
            return await values
        except Exception as error:
            raise self._failure(error, step) from error

    def _failure(self, error: Exception, step: int) -> UserError:
        """The command line shows no traceback, so the message says where it was."""
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(frame.filename).name}:{frame.lineno}"
        return UserError(
            f"reward function {self.name!r} failed at step {step} ({where}): {type(error).__name__}: {error}"
        )


def _not_logged(column: str, values: Any) -> None:
    """TRL's `log_extra` adds a column to a table of completions; PPO keeps no such table, so this keeps nothing."""


def name_of(function: Any) -> str:
    """A callable's name as TRL gives it."""
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))
