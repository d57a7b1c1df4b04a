r"""AMPS_Hard: the response's last formula is compared with the reference by computer algebra.

The rules are livebench/process_results/math/AMPS_Hard/utils.py's at commit fc6c608, which made the recorded
judgments; the judge that it asks about unequal formulas where it is given an API key had no part in them and has none
here.
"""

from __future__ import annotations

import re

from bai_sweep.scoring.livebench._text import boxed
from bai_sweep.scoring.livebench.math._equivalence import SECONDS, equivalent

_DROPPED = (r"\left", r"\right", r"\bigl", r"\bigr", r"\Bigl", r"\Bigr", r"\,", r"\;", "\n")
_OR = r"\quad \text{or} \quad"


def symbolic(truth: str, answer: str, *, seconds: float = SECONDS) -> float:
    """1 where the formula in the last box, or else in the last dollar signs, equals the reference.

    A response without either is right where it ends with the reference, letter for letter.

    Args:
        truth: LaTeX as Mathematica writes it.
        answer: A response.
        seconds: Of processor time for the comparison; one that takes longer scores 0.
    """
    answer, truth = _cleaned(answer), _reference(truth)
    formula = _formula(answer)
    if formula is None:
        return float(answer.removesuffix(".").endswith(truth))
    return float(equivalent(truth, _normalised(formula), seconds=seconds))


def _cleaned(answer: str) -> str:
    for constant in ("+C", "+ C", "+ c", "+c"):
        answer = answer.replace(constant, "")
    answer = answer.replace(r"\\fbox{", r"\\boxed{").replace(r"\dfrac", r"\frac").replace(r"\tfrac", r"\frac")
    for command in _DROPPED:
        answer = answer.replace(command, "")
    return answer.replace(r"\cdot", "*")


def _reference(truth: str) -> str:
    return truth.replace(r"\left", "").replace(r"\right", "").replace(" ^", "^").replace("\\ ", "*")


def _formula(answer: str) -> str | None:
    content = boxed(answer)
    if content is not None:
        return content
    if answer.count("$") < 2:
        return None
    end = answer.rfind("$")
    if answer[end - 1] == "$":  # displayed: two signs at each end
        end -= 1
    formula = answer[answer.rfind("$", 0, end) + 1 : end]
    return formula.split("=" if "=" in formula else _OR)[-1].strip() if "=" in formula or _OR in formula else formula


def _normalised(formula: str) -> str:
    """Lewkowycz et al. (2022), appendix D: right-hand side, without decoration, shorthand written out."""
    formula = formula.rpartition("=")[2]
    formula = re.sub(r".*?\$(.*?)\$.*", r"$\1$", formula)
    for command in ("text", "textbf", "overline"):
        formula = re.sub(rf"\\{command}\{{(.*?)\}}", r"\1", formula)
    formula = re.sub(r"\\boxed\{(.*)\}", r"\1", formula)
    formula = re.sub(r"frac([^{])(.)", r"frac{\1}{\2}", formula)
    formula = re.sub(r"sqrt([^{\[])", r"sqrt{\1}", formula)
    formula = formula.replace("$", "")
    digits = formula.replace(",", "")
    return digits if digits.isdigit() else formula
