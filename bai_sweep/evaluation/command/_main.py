"""The command's beginning and end: which of its parts is meant, and what it exits with."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence

from bai_sweep.config import ConfigError
from bai_sweep.records import UserError

DONE, FAILED, MISUSED, STOPPED = 0, 1, 2, 130

USAGE = """\
usage: python -m bai_sweep.evaluation run model=<model> [evaluation=paper] [judge=openai] [key=value ...]
       python -m bai_sweep.evaluation check [evaluation=paper] [judge=openai] [key=value ...]
       python -m bai_sweep.evaluation fetch data_dir=<folder> [benchmarks=mmlu,math500]
       python -m bai_sweep.evaluation compare <folder> <folder> [...]

run      scores a model: a folder, testbed://<member>, or a hub id owner/name[@revision]. Called again, it goes on
         where it was broken off. conf/evaluate.yaml has its keys, conf/evaluation/ and conf/judge/ those of their
         groups.
check    says which benchmarks can run, with which data, before a model is loaded.
fetch    puts the benchmarks' data into a folder, for machines without a network.
compare  paired differences between evaluations or trials on the same items, with intervals and p-values.
"""


def main(arguments: Sequence[str]) -> int:
    """Runs a part of the command.

    Returns:
        The exit code: 0, 1 where the input or the evaluation is at fault, 2 where an argument is, 130 after a Ctrl-C.
    """
    if not arguments or not {"-h", "--help"}.isdisjoint(arguments):
        print(USAGE, end="", file=sys.stdout if arguments else sys.stderr)
        return DONE if arguments else MISUSED
    part = _parts().get(arguments[0])
    if part is None:
        print(f"there are {', '.join(_parts())}; got {arguments[0]!r}\n\n{USAGE}", end="", file=sys.stderr)
        return MISUSED
    try:
        part(arguments[1:])
    except ConfigError as error:
        print(error, file=sys.stderr)
        return MISUSED
    except UserError as error:
        print(error, file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("stopped; what was answered is kept: the same command goes on from there", file=sys.stderr)
        return STOPPED
    return DONE


def _parts() -> Mapping[str, Callable[[Sequence[str]], None]]:
    from bai_sweep.evaluation.command._compare import compare
    from bai_sweep.evaluation.command._data import check, fetch
    from bai_sweep.evaluation.command._run import run

    return {"run": run, "check": check, "fetch": fetch, "compare": compare}
