"""LiveBench's data analysis: expected scores worked out by hand from the official rules."""

import pytest

from bai_sweep.records import UserError
from bai_sweep.scoring.livebench import score
from bai_sweep.scoring.livebench._text import UnreadableAnswerError
from bai_sweep.scoring.livebench.data_analysis import cta, tablejoin, tablereformat


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("item_description", 1.0),
        (" Item_Description.\n", 1.0),
        ("The class is 'item_description'", 1.0),
        ("item_description is the class", 0.0),
        ("item description", 0.0),  # an underscore is a letter
        (r"$\boxed{\text{item\_description}}$ of course", 1.0),
        (r"\boxed{brand} item_description", 0.0),
    ],
)
def test_column_type_annotation(answer: str, expected: float) -> None:
    assert cta("item_description", answer) == expected


def test_a_class_with_a_space_counts_without_it() -> None:
    assert cta("mass (g)", "Massg") == 1.0
    assert score("data_analysis", "cta", {"ground_truth": "a"}, r"\boxed{a") == 0.0
    with pytest.raises(UnreadableAnswerError, match="does not"):
        cta("a", r"\boxed{a")


TRUTH = {"a": "x", "b": "y", "c": "z"}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("{'a': 'x', 'b': 'y', 'c': 'z'}", 1.0),
        ("{'a': 'x', 'b': 'y'}", 0.8),  # 2 * 2 / (4 + 0 + 1)
        ("{'a': 'x', 'b': 'z', 'c': 'z'}", 0.67),  # a wrong pair is one too many and one missed: 4 / (4 + 1 + 1)
        ("{'a': 'x', 'b': 'y', 'c': 'z', 'd': 'w'}", 0.86),  # 6 / (6 + 1)
        ("{'a': 'x', 'd': None}", 0.5),  # a column that maps to nothing does not count: 2 / (2 + 0 + 2)
        ("{'a': 'x', 'b': ''}", 0.33),  # an empty name is too many, wrong and missed: 2 / (2 + 1 + 1 + 2)
        ("```python\n{'a': 'x',\n 'b': 'y', 'c': 'z'}\n```", 1.0),
        ('Sure:\n```json\n{"a": "x", "b": "y", "c": "z", "d": null}\n```\nDone', 1.0),
        ("```\n{'a': 'q'}\n``` or rather ```\n{'a': 'x', 'b': 'y', 'c': 'z'}\n```", 1.0),
        ("<solution>\n{'a': 'x', 'b': 'y', 'c': 'z'}\n</solution> {'a': 'q'}", 1.0),
        (r"\boxed{\{\text{'a'}: \text{'x'}, 'b': 'y', 'c': 'z'\}}", 1.0),
        ("mapping = {'a': 'x'}", 0.0),
        ("['a', 'x']", 0.0),
        ("{}", 0.0),
        ("{'a': __import__('os').getcwd()}", 0.0),
        ("", 0.0),
    ],
)
def test_table_join(answer: str, expected: float) -> None:
    assert tablejoin(TRUTH, answer) == expected
    assert tablejoin(str(TRUTH), answer) == expected


def task(target: str) -> str:
    return f"Please convert the Input Table from XML format to {target} format. Please respond only with the table."


CSV = "name,n\nAnna,1\nBob,2.5\n"
JSONL = '{"name": "Anna", "n": 1}\n{"name": "Bob", "n": 2.5}'
TSV = CSV.replace(",", "\t")
JSON = '{"0": {"name": "Anna", "n": 1}, "1": {"name": "Bob", "n": 2.5}}'
RECORDS = '[{"n": 1.0, "name": "Anna"}, {"n": 2.5, "name": "Bob"}]'
MARKDOWN = "| name | n |\n|---|---|\n| Anna | 1 |"
HTML = (
    "<table><tr><th>name</th><th>n</th></tr><tr><td>Anna</td><td>1</td></tr><tr><td>Bob</td><td>2.5</td></tr></table>"
)


@pytest.mark.parametrize(
    ("target", "truth", "answer", "expected"),
    [
        ("CSV", CSV, CSV, 1.0),
        ("CSV", CSV, f"```csv\n{CSV}```", 1.0),
        ("CSV", CSV, f"<solution>\n{CSV}</solution>", 1.0),
        ("CSV", CSV, f"Here is the table in CSV format:\n{CSV}", 1.0),
        ("CSV", CSV, f"Of course! So, this, is, it:\n\n{CSV}\nHave fun, will you, and, so, on.", 1.0),
        ("CSV", CSV, "n,name\n1,Anna\n2.5000001,Bob", 1.0),  # any order of columns; numbers to 1e-6
        ("CSV", CSV, "n,name\n1,Anna\n2.50001,Bob", 0.0),
        ("CSV", CSV, "name,n\nBob,2.5\nAnna,1", 0.0),  # rows have an order
        ("CSV", CSV, "name,n\nAnna,1", 0.0),
        ("CSV", CSV, "Name,n\nAnna,1\nBob,2.5", 0.0),
        ("CSV", CSV, "index,name ,n\n0,Anna ,1\n1,Bob,2.5", 1.0),
        ("CSV", "a,b\n1,\n,x\n", "a,b\n1,NaN\nnull,x", 1.0),  # what is missing equals what is missing
        ("TSV", TSV, TSV, 1.0),
        ("TSV", TSV, CSV, 0.0),
        ("TSV", TSV, f"Some\twords\there\n\nand:\n{TSV}", 0.0),  # readable as it is, so nothing is looked for in it
        ("TSV", TSV, f"Some words:\n{TSV}", 0.0),  # to pandas, rows with their names in front
        ("TSV", TSV, f"Some words:\nand:\n{TSV}", 1.0),
        ("JSONL", JSONL, JSONL, 1.0),
        ("JSONL", JSONL, f"Well:\n{JSONL}\nDone.", 1.0),
        ("JSONL", JSONL, JSONL.replace("Bob", "Rob"), 0.0),
        ("JSON", JSON, JSON, 1.0),
        ("JSON", JSON, f"```json\n{RECORDS}\n```", 1.0),
        ("JSON", JSON, "no table", 0.0),
        ("HTML", HTML, HTML, 1.0),
        ("HTML", HTML, f"Here you are:\n```html\n{HTML}\n```", 1.0),
        ("HTML", HTML, HTML.replace("th>", "td>"), 0.0),
        ("HTML", HTML, "no table", 0.0),
        ("Markdown", MARKDOWN, MARKDOWN.replace("---", " --- "), 1.0),
        ("Markdown", MARKDOWN, MARKDOWN.replace("1", "2"), 0.0),
        ("CSV", CSV, "", 0.0),
    ],
)
def test_table_reformatting(target: str, truth: str, answer: str, expected: float) -> None:
    assert tablereformat(truth, answer, task(target)) == expected


def test_a_later_question_is_refused() -> None:
    with pytest.raises(UserError, match="before 2025-04-25"):
        tablereformat(CSV, CSV, "Source Format: JSON\nTarget Format: CSV")


def test_a_reference_that_is_no_table_is_refused() -> None:
    with pytest.raises(UserError, match="a table in jsonl; got 'no table'"):
        tablereformat("no table", JSONL, task("JSONL"))


def test_a_task_is_scored_by_its_own_rule() -> None:
    assert score("data_analysis", "tablejoin", {"ground_truth": "{'a': 'x'}"}, "{'a': 'x'}") == 1.0
    assert score("data_analysis", "tablereformat", {"ground_truth": CSV, "turns": [task("CSV")]}, CSV) == 1.0
