"""Small rows of each benchmark, written for the tests: right in every column, and as many as the official files."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bai_sweep.evaluation.data.benchmarks import MMLU_SUBJECTS

Row = dict[str, Any]


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def supergpqa(count: int) -> list[Row]:
    return [
        {
            "uuid": f"u{n}",
            "question": f"Which is {n}?",
            "options": [str(n), "none", "both", "all"],
            "answer": str(n),
            "answer_letter": "A",
            "discipline": "Science",
            "field": "Mathematics",
            "subfield": "Numbers",
            "difficulty": "easy",
            "is_calculation": False,
        }
        for n in range(count)
    ]


def mmlu_pro(count: int) -> list[Row]:
    return [
        {
            "question_id": n,
            "question": f"Which is {n}?",
            "options": ["none", str(n), "both"],
            "answer": "B",
            "answer_index": 1,
            "cot_content": "",
            "category": ("math", "law", "computer science")[n % 3],
            "src": "made",
        }
        for n in range(count)
    ]


def mmlu(subject: str, count: int) -> list[Row]:
    return [
        {"question": f"Which is {n}?", "subject": subject, "choices": ["0", "1", "2", str(n)], "answer": 3}
        for n in range(count)
    ]


def lay_mmlu(root: Path, subjects: Iterable[str] = tuple(MMLU_SUBJECTS)) -> None:
    for subject in subjects:
        write_lines(root / f"mmlu/{subject}_test.jsonl", mmlu(subject, MMLU_SUBJECTS[subject]))
        write_lines(root / f"mmlu/{subject}_dev.jsonl", mmlu(subject, 5))


def aime_as_on_the_hub(count: int = 30) -> list[Row]:
    return [{"ID": f"2024-I-{n}", "Problem": f"Find {n}.", "Solution": "See.", "Answer": n} for n in range(count)]


def math_as_on_the_hub(subject: str, count: int) -> list[Row]:
    return [
        {"problem": f"Find {n}.", "level": "Level 3", "type": subject, "solution": rf"It is $\boxed{{{n}}}$."}
        for n in range(count)
    ]


def mbpp_plus(count: int = 378) -> list[Row]:
    return [
        {
            "task_id": f"Mbpp/{n}",
            "prompt": '"""\nAdd one.\n"""\n',
            "entry_point": "add_one",
            "canonical_solution": "def add_one(x):\n    return x + 1\n",
            "base_input": [[n]],
            "plus_input": [[-n]],
            "atol": 0,
            "contract": "",
            "assertion": "assert add_one(1) == 2",
        }
        for n in range(count)
    ]


def mixeval(half: str, count: int = 500) -> dict[str, Row]:
    item: Row = {"problem_type": half, "context": None, "prompt": "Which?", "benchmark_name": "MMLU"}
    item |= {"options": ["this", "that"], "target": [1]} if half == "multiple-choice" else {"target": ["that"]}
    return {str(n): item for n in range(count)}


def arena_questions(count: int = 500) -> list[Row]:
    return [
        {"uid": f"q{n}", "category": "arena-hard-v0.1", "cluster": f"c{n % 9}", "prompt": "Hi"} for n in range(count)
    ]


def arena_answers(model: str, count: int = 500) -> list[Row]:
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": {"answer": "Hello"}}]
    return [{"uid": f"q{n}", "model": model, "messages": messages} for n in range(count)]


def livebench(category: str, task: str, count: int) -> list[Row]:
    extra: Row = {"ground_truth": "4"}
    if category == "coding":
        extra = {"public_test_cases": "[]", "private_test_cases": "[]", "original_json": {"metadata": "{}"}}
    if category == "instruction_following":
        extra = {"instruction_id_list": ["keywords:existence"], "kwargs": [{"keywords": ["x"]}]}
    return [
        {
            "question_id": f"{task}-{n}",
            "category": category,
            "task": task,
            "turns": [f"What is {n}?"],
            "livebench_release_date": "2024-11-25",
            "livebench_removal_date": "",
            **extra,
        }
        for n in range(count)
    ]
