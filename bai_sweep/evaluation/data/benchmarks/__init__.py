"""The benchmarks' files as tables: columns, official counts, sources, licences, and the rules between columns.

Counts were taken from the official files or their dataset cards; each module says where one was not.
"""

from bai_sweep.evaluation.data.benchmarks import _chat, _choice, _code, _livebench, _maths

MMLU_SUBJECTS = _choice.MMLU_SUBJECTS
SPECS = {
    spec.name: spec
    for spec in (
        _choice.MMLU_PRO,
        _choice.MMLU,
        _choice.SUPERGPQA,
        _livebench.LIVEBENCH,
        *_chat.MIXEVAL,
        *_chat.ARENAHARD,
        _maths.AIME_2024,
        _maths.MATH,
        _maths.MATH500,
        _code.MBPP_PLUS,
    )
}

__all__ = ["MMLU_SUBJECTS", "SPECS"]
