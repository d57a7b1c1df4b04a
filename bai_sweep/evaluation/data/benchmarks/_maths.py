"""AIME 2024, MATH and MATH-500: problems with an answer to compare."""

from __future__ import annotations

from bai_sweep.evaluation.data._kinds import FILLED, MAYBE_WHOLE, TEXT
from bai_sweep.evaluation.data._types import Column, DataFile, HubRows, Row, Spec

_AIME_NAMES = {"ID": "id", "Problem": "problem", "Solution": "solution", "Answer": "answer"}  # Maxwell-Jia/AIME_2024


def _normalise_aime(row: Row) -> Row:
    """The hub's capital names become small ones, and ids and answers that are numbers become text."""
    row = {_AIME_NAMES.get(name, name): value for name, value in row.items()}
    numbers = {name: str(row[name]) for name in ("id", "answer") if type(row.get(name)) is int}
    return {**row, **numbers}


def _aime_rule(row: Row) -> str | None:
    answer = row["answer"].strip()
    if not (answer.isascii() and answer.isdigit() and len(answer) <= 3):
        return f"column answer is a whole number from 0 to 999; got {row['answer']!r}"
    return None


AIME_2024 = Spec(
    name="aime_2024",
    title="AIME 2024",
    folder="aime_2024",
    version="2024, I and II",
    licence="problems (c) Mathematical Association of America; the hub's dataset: MIT",
    files=(
        DataFile(
            key="test",
            stem="test",
            columns=(
                Column("id", FILLED),
                Column("problem", FILLED),
                Column("answer", FILLED),
                Column("solution", TEXT, optional=True),
            ),
            sources=(HubRows("Maxwell-Jia/AIME_2024", None, "train"),),
            rows=30,
            identity="id",
            rule=_aime_rule,
            other_counts={15: "one of the year's two papers", 90: "AIME 2022 to 2024", 933: "AIME 1983 to 2024"},
        ),
    ),
    normalise=_normalise_aime,
)


def _normalise_math(row: Row) -> Row:
    """`type` becomes `subject`, "Level 5" becomes 5 (None for "Level ?")."""
    row = {"subject" if name == "type" else name: value for name, value in row.items()}
    level = row.get("level")
    if isinstance(level, str) and level.startswith("Level "):
        number = level.removeprefix("Level ")
        row["level"] = int(number) if number.isdigit() else None
    return row


_MATH_COLUMNS = (
    Column("problem", FILLED),
    Column("solution", FILLED),
    Column("subject", FILLED),
    Column("level", MAYBE_WHOLE),
    Column("answer", FILLED, optional=True),
    Column("unique_id", FILLED, optional=True),
)
_MATH_CONFIGS = (
    "algebra",
    "counting_and_probability",
    "geometry",
    "intermediate_algebra",
    "number_theory",
    "prealgebra",
    "precalculus",
)
_MATH_REVISION = "0bd4da3ba883718272d0e821efdf10b63c2ed3bf"  # all seven as parquet, the loading script gone

MATH = Spec(
    name="math",
    title="MATH",
    folder="math",
    version="test split, 5,000 problems",
    licence="MIT",
    files=(
        DataFile(
            key="test",
            stem="test",
            columns=_MATH_COLUMNS,
            sources=tuple(
                HubRows("EleutherAI/hendrycks_math", config, "test", _MATH_REVISION) for config in _MATH_CONFIGS
            ),
            rows=5000,
            other_counts={500: "MATH-500 (benchmark math500)", 7500: "the training split", 12500: "train and test"},
        ),
    ),
    normalise=_normalise_math,
)

MATH500 = Spec(
    name="math500",
    title="MATH-500",
    folder="math500",
    version="500 problems of the test split",
    licence="MIT",
    files=(
        DataFile(
            key="test",
            stem="test",
            columns=(*_MATH_COLUMNS[:4], Column("answer", FILLED), Column("unique_id", FILLED)),
            sources=(HubRows("HuggingFaceH4/MATH-500", None, "test"),),
            rows=500,
            identity="unique_id",
            other_counts={5000: "MATH (benchmark math)"},
        ),
    ),
    normalise=_normalise_math,
)
