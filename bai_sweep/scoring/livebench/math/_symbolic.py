"""The process that compares formulas with SymPy, apart from everything else: text in, yes or no out.

Run as a file it imports none of this package, reads one JSON line `[truth, answer, seconds]` a comparison and writes
one line, `true` or `false`; the operating system ends it where a comparison takes more processor time or memory. What
a response says is parsed by grammars, never evaluated.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sys
from itertools import islice
from typing import Any

import sympy
from lark import Tree
from latex2sympy2_extended import latex2sympy
from sympy.parsing.latex import parse_latex

MEMORY_BYTES = 2 << 30
COMPARISONS = 200  # of one process; what it has cached by then goes with it
TOLERANCE = 1e-3
_LOGARITHM = re.compile(r"\\log(?![_a-zA-Z])")
_PRODUCT = re.compile(r"(?<=\d)\s*(?=\\frac)")
_FUNCTION = re.compile(r"(?<![\\a-zA-Z])([a-zA-Z]+)\s*\(")


def equal(truth: str, answer: str) -> bool:
    """Whether any reading of one formula minus any of the other simplifies to less than a thousandth."""
    readings = parse(answer)
    return any(_vanishes(x, y) for x in parse(truth) for y in readings)


def parse(formula: str) -> list[Any]:
    r"""The expressions that a formula may mean: several where SymPy's grammar finds it ambiguous, none without sense.

    SymPy's lark grammar, then the same with `\\` for doubled backslashes, then latex2sympy2 where SymPy's own second
    grammar (for a version of ANTLR that cannot be installed beside Hydra's) would follow.
    """
    for text in dict.fromkeys((formula, formula.replace("\\\\", "\\"))):
        try:
            parsed = parse_latex(text, backend="lark")
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - a grammar and constructors on any text: they raise anything
            continue
        return list(parsed.children) if isinstance(parsed, Tree) else [parsed]
    try:
        return [latex2sympy(_as_sympy_reads(formula))]
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - as above
        return []


def _as_sympy_reads(formula: str) -> str:
    r"""With SymPy's reading of what latex2sympy2 takes for a decimal logarithm, a mixed number, or a factor.

    To SymPy a letter before a parenthesis is a function's name, `x (y + 1)`, so here it is not the variable either.
    That costs a response a point where it orders its factors otherwise than the reference; the recorded judgments
    have it so.
    """
    formula = _FUNCTION.sub(r"\1_{0}(", formula)
    return _PRODUCT.sub("*", _LOGARITHM.sub(r"\\ln", formula))


def _vanishes(truth: Any, answer: Any) -> bool:
    try:
        difference = sympy.simplify(truth - answer)
        return difference == 0 or bool(sympy.Abs(difference) < TOLERANCE)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - no difference, no simplification, or no number: the official rule's "no"
        return False


def _limit(seconds: float) -> None:
    """From now on; the kernel sends SIGXCPU at the limit, which ends the process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = used.ru_utime + used.ru_stime
    resource.setrlimit(resource.RLIMIT_CPU, (int(spent + seconds) + 1, resource.RLIM_INFINITY))


def main() -> None:
    """Serves `COMPARISONS` lines of its input."""
    results = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    sys.stdout = sys.stderr  # a parser that prints does not get between the results
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    parse("x")  # builds the grammars
    results.write("ready\n")
    results.flush()
    for line in islice(sys.stdin, COMPARISONS):
        truth, answer, seconds = json.loads(line)
        _limit(seconds)
        results.write(json.dumps(equal(truth, answer)) + "\n")
        results.flush()


if __name__ == "__main__":
    main()
