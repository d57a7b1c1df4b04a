"""MMLU-Pro, MMLU and SuperGPQA: questions with options."""

from __future__ import annotations

from bai_sweep.evaluation.data._kinds import FILLED, FLAG, TEXT, WHOLE, texts
from bai_sweep.evaluation.data._types import Column, DataFile, HubRows, Row, Spec

_LETTERS = "ABCDEFGHIJ"
MMLU_PRO_CATEGORIES = {
    "biology",
    "business",
    "chemistry",
    "computer science",
    "economics",
    "engineering",
    "health",
    "history",
    "law",
    "math",
    "other",
    "philosophy",
    "physics",
    "psychology",
}


def _pro_rule(row: Row) -> str | None:
    index, letter, count = row["answer_index"], row["answer"], len(row["options"])
    if row["category"] not in MMLU_PRO_CATEGORIES:
        return f"column category is one of the 14 of MMLU-Pro; got {row['category']!r}"
    if not 0 <= index < count:
        return f"column answer_index is one of the {count} options, counted from 0; got {index}"
    if letter != _LETTERS[index]:
        return f"column answer is the letter of answer_index {index}, {_LETTERS[index]}; got {letter!r}"
    return None


_PRO_COLUMNS = (
    Column("question_id", WHOLE),
    Column("question", FILLED),
    Column("options", texts(2, 10)),
    Column("answer", FILLED),
    Column("answer_index", WHOLE),
    Column("cot_content", TEXT),
    Column("category", FILLED),
    Column("src", TEXT, optional=True),
)


def _pro_file(split: str, rows: int) -> DataFile:
    source = HubRows("TIGER-Lab/MMLU-Pro", None, split)
    return DataFile(split, split, _PRO_COLUMNS, (source,), rows, identity="question_id", rule=_pro_rule)


MMLU_PRO = Spec(
    name="mmlu_pro",
    title="MMLU-Pro",
    folder="mmlu_pro",
    version="12,032 test and 70 validation questions",
    licence="MIT",
    files=(_pro_file("test", 12032), _pro_file("validation", 70)),
)

# The test questions of each subject: 14,042 together, as the dataset card of cais/mmlu says.
MMLU_SUBJECTS = {
    "abstract_algebra": 100,
    "anatomy": 135,
    "astronomy": 152,
    "business_ethics": 100,
    "clinical_knowledge": 265,
    "college_biology": 144,
    "college_chemistry": 100,
    "college_computer_science": 100,
    "college_mathematics": 100,
    "college_medicine": 173,
    "college_physics": 102,
    "computer_security": 100,
    "conceptual_physics": 235,
    "econometrics": 114,
    "electrical_engineering": 145,
    "elementary_mathematics": 378,
    "formal_logic": 126,
    "global_facts": 100,
    "high_school_biology": 310,
    "high_school_chemistry": 203,
    "high_school_computer_science": 100,
    "high_school_european_history": 165,
    "high_school_geography": 198,
    "high_school_government_and_politics": 193,
    "high_school_macroeconomics": 390,
    "high_school_mathematics": 270,
    "high_school_microeconomics": 238,
    "high_school_physics": 151,
    "high_school_psychology": 545,
    "high_school_statistics": 216,
    "high_school_us_history": 204,
    "high_school_world_history": 237,
    "human_aging": 223,
    "human_sexuality": 131,
    "international_law": 121,
    "jurisprudence": 108,
    "logical_fallacies": 163,
    "machine_learning": 112,
    "management": 103,
    "marketing": 234,
    "medical_genetics": 100,
    "miscellaneous": 783,
    "moral_disputes": 346,
    "moral_scenarios": 895,
    "nutrition": 306,
    "philosophy": 311,
    "prehistory": 324,
    "professional_accounting": 282,
    "professional_law": 1534,
    "professional_medicine": 272,
    "professional_psychology": 612,
    "public_relations": 110,
    "security_studies": 245,
    "sociology": 201,
    "us_foreign_policy": 100,
    "virology": 166,
    "world_religions": 171,
}
_MMLU_COLUMNS = (
    Column("question", FILLED),
    Column("choices", texts(4, 4)),
    Column("answer", WHOLE),
    Column("subject", TEXT, optional=True),
)


def _mmlu_file(subject: str, split: str, rows: int) -> DataFile:
    def rule(row: Row) -> str | None:
        if not 0 <= row["answer"] < 4:
            return f"column answer is the index of a choice, 0 to 3; got {row['answer']}"
        # some copies leave the column empty
        if row.get("subject") not in (None, "", subject):
            return f"column subject is {subject}, as the file's name; got {row['subject']!r}"
        return None

    stem = f"{subject}_{split}"
    source = HubRows("cais/mmlu", subject, split)
    return DataFile(stem, stem, _MMLU_COLUMNS, (source,), rows, rule=rule, group=subject)


MMLU = Spec(
    name="mmlu",
    title="MMLU",
    folder="mmlu",
    version="14,042 test questions, 57 subjects",
    licence="MIT",
    files=tuple(
        _mmlu_file(subject, split, rows)
        for subject, tests in MMLU_SUBJECTS.items()
        for split, rows in (("test", tests), ("dev", 5))
    ),
)


def _supergpqa_rule(row: Row) -> str | None:
    letter, count = row["answer_letter"], len(row["options"])
    if letter not in set(_LETTERS[:count]):
        return f"column answer_letter is one of the {count} options, A to {_LETTERS[count - 1]}; got {letter!r}"
    return None


SUPERGPQA = Spec(
    name="supergpqa",
    title="SuperGPQA",
    folder="supergpqa",
    version="26,529 questions",
    licence="ODC-BY",
    files=(
        DataFile(
            key="test",
            stem="test",
            columns=(
                Column("uuid", FILLED),
                Column("question", FILLED),
                Column("options", texts(2, 10)),
                Column("answer", TEXT),
                Column("answer_letter", FILLED),
                Column("discipline", TEXT),
                Column("field", TEXT),
                Column("subfield", TEXT),
                Column("difficulty", FILLED),
                Column("is_calculation", FLAG),
            ),
            sources=(HubRows("m-a-p/SuperGPQA", None, "train"),),
            rows=26529,
            identity="uuid",
            rule=_supergpqa_rule,
        ),
    ),
)
