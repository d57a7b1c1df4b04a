"""MBPP+: programming tasks with the inputs of the base tests and of the plus tests."""

from __future__ import annotations

from bai_sweep.evaluation.data._kinds import FILLED, FILLED_LIST, LIST, NUMBER, OBJECT, TEXT
from bai_sweep.evaluation.data._types import Column, DataFile, Kind, RawFile, Spec

_URL = "https://github.com/evalplus/mbppplus_release/releases/download/v0.2.0/MbppPlus.jsonl.gz"
# three tasks of the oldest files have {} for no inputs
_PLUS = Kind("a list", lambda value: LIST.holds(value) or (OBJECT.holds(value) and not value))
_HUB_FORM = (
    "this is the form of the hub's evalplus/mbppplus, whose `test` script would have to be run in one process with "
    f"the generated code; take {_URL}"
)

MBPP_PLUS = Spec(
    name="mbpp_plus",
    title="MBPP+ v0.2.0",
    folder="mbpp_plus",
    version="v0.2.0",
    licence="Apache-2.0; the MBPP problems CC-BY-4.0",
    files=(
        DataFile(
            key="test",
            stem="MbppPlus",
            columns=(
                Column("task_id", FILLED),
                Column("prompt", FILLED),
                Column("entry_point", FILLED),
                Column("canonical_solution", FILLED),
                Column("base_input", FILLED_LIST),
                Column("plus_input", _PLUS),
                Column("atol", NUMBER),
                Column("contract", TEXT, optional=True),
                Column("assertion", TEXT, optional=True),
            ),
            # the release file, not the hub: the hub has the tests only as a script
            sources=(RawFile(_URL, "v0.2.0", None, ".jsonl.gz"),),
            rows=378,
            identity="task_id",
            other_counts={399: "MBPP+ v0.1.0 or older"},
            foreign={"test_list": _HUB_FORM},
        ),
    ),
)
