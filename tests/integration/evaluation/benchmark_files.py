"""A few items of each of the paper's nine benchmarks, written for the tests, in the layout of `evaluation.data_dir`.

Every prompt carries a mark, `item <number>`, by which the right answer to it is found again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

Row = dict[str, Any]

CATEGORIES = ("math", "computer science")  # of MMLU-Pro
SUBJECTS = ("anatomy", "philosophy")  # of MMLU
PER_TASK = 3
SHOTS = 5
LIVEBENCH = {
    "coding": ("LCB_generation", "coding_completion"),
    "data_analysis": ("cta", "tablejoin", "tablereformat"),
    "instruction_following": ("paraphrase", "simplify", "story_generation", "summarize"),
    "language": ("connections", "plot_unscrambling", "typos"),
    "math": ("AMPS_Hard", "math_comp", "olympiad"),
    "reasoning": ("spatial", "web_of_lies_v2", "zebra_puzzle"),
}
_MARK = re.compile(r"item \d+")
_TABLE = "Please convert the Input Table from CSV format to JSONL format. Input Table: a,b\n1,x\n2,y\n"
_ADD = "```python\na, b = map(int, input().split())\nprint(a + b)\n```"
_TESTS = json.dumps([{"input": "1 2", "output": "3", "testtype": "stdin"}])
_PROGRAM: Row = {
    "public_test_cases": _TESTS,
    "private_test_cases": json.dumps([{"input": "5 -7", "output": "-2", "testtype": "stdin"}]),
    "original_json": {"metadata": "{}"},
}
_KEYWORD: Row = {"instruction_id_list": ["keywords:existence"], "kwargs": [{"keywords": ["heron"]}]}

# task -> what is asked, its columns, a right answer
_LIVEBENCH_ITEMS: Mapping[str, tuple[str, Row, str]] = {
    "LCB_generation": ("Add two numbers.", {**_PROGRAM, "partial_solution": ""}, _ADD),
    "coding_completion": (
        "Go on: add two numbers.",
        {**_PROGRAM, "partial_solution": "a, b = map(int, input().split())"},
        "```python\nprint(a + b)\n```",
    ),
    "cta": ("What is this column?", {"ground_truth": "Country"}, "country"),
    "tablejoin": ("Join the tables.", {"ground_truth": "{'a': 'x'}"}, "<solution>{'a': 'x'}</solution>"),
    "tablereformat": (
        _TABLE,
        {"ground_truth": '{"a":1,"b":"x"}\n{"a":2,"b":"y"}'},
        '{"a":1,"b":"x"}\n{"a":2,"b":"y"}',
    ),
    "paraphrase": ("Say it otherwise.", _KEYWORD, "A heron stood there."),
    "simplify": ("Say it simply.", _KEYWORD, "A heron stood there."),
    "story_generation": ("Tell a story.", _KEYWORD, "A heron stood there."),
    "summarize": ("Say it in short.", _KEYWORD, "A heron stood there."),
    "connections": (
        "Group: pea elm oak fir bean leek ash kale",
        {"ground_truth": "elm,oak,fir,ash,pea,bean,leek,kale"},
        "<solution>oak, elm, ash, fir, kale, leek, bean, pea</solution>",
    ),
    "plot_unscrambling": (
        "He won. He came. He saw.",
        {"ground_truth": "He came. He saw. He won."},
        "<PLOT_SUMMARY>He came. He saw. He won.</PLOT_SUMMARY>",
    ),
    "typos": ("Mend: teh heron", {"ground_truth": "the heron"}, "<solution>the heron</solution>"),
    "AMPS_Hard": ("Differentiate x^3.", {"ground_truth": "3 x^2"}, r"\boxed{3 x^2}"),
    "math_comp": ("Find 7 * 10.", {"ground_truth": "070", "subtask": "aime_i_2024"}, "It is 070"),
    "olympiad": ("Put in order.", {"ground_truth": "2,3,1"}, "Answer: 2,3,1"),
    "spatial": ("How many pieces?", {"ground_truth": "4"}, "**4**"),
    "web_of_lies_v2": ("Who tells the truth?", {"ground_truth": "yes, no, yes"}, "**yes, no, yes**"),
    "zebra_puzzle": ("Who keeps what?", {"ground_truth": "red,2"}, "<solution>red, 2</solution>"),
}


class Files:
    """Writes the nine benchmarks below `root`.

    Args:
        root: becomes `evaluation.data_dir`.

    Attributes:
        right: the right answer to a prompt by its mark; of a multiple-choice item with log-likelihoods, its letter.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.right: dict[str, str] = {}
        self._numbers = count()
        for write in (self._mmlu_pro, self._mmlu, self._supergpqa, self._livebench, self._mixeval, self._arenahard):
            write()
        for write in (self._aime, self._math, self._mbpp_plus):
            write()

    def answer_to(self, prompt: str) -> str:
        """The right answer to the last question of a prompt, before which examples may stand."""
        return self.right[_MARK.findall(prompt)[-1]]

    def _asked(self, question: str, right: str) -> str:
        mark = f"item {next(self._numbers)}"
        self.right[mark] = right
        return f"{question} ({mark})"

    def _write(self, name: str, rows: list[Row]) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def _mmlu_pro(self) -> None:
        def row(number: int, category: str) -> Row:
            right = number % 2
            letter = "AB"[right]
            return {
                "question_id": number,
                "question": self._asked(f"Which of them? {category}", f"So the answer is ({letter})."),
                "options": ["this", "that"],
                "answer": letter,
                "answer_index": right,
                "cot_content": f"A: Let's think step by step. The answer is ({letter}).",
                "category": category,
                "src": "made",
            }

        for split, each in (("test", PER_TASK), ("validation", SHOTS)):
            order = enumerate(category for category in CATEGORIES for _ in range(each))
            self._write(f"mmlu_pro/{split}.jsonl", [row(number, category) for number, category in order])

    def _mmlu(self) -> None:
        for subject in SUBJECTS:
            for split, rows in (("test", PER_TASK), ("dev", SHOTS)):
                self._write(
                    f"mmlu/{subject}_{split}.jsonl",
                    [
                        {
                            "question": self._asked(f"Which of them? {subject}", "ABCD"[number % 4]),
                            "subject": subject,
                            "choices": ["this", "that", "both", "none"],
                            "answer": number % 4,
                        }
                        for number in range(rows)
                    ],
                )

    def _supergpqa(self) -> None:
        rows = [
            {
                "uuid": f"made-{number}",
                "question": self._asked("Which of them?", f"Answer: {'AB'[number % 2]}"),
                "options": ["this", "that"],
                "answer": ("this", "that")[number % 2],
                "answer_letter": "AB"[number % 2],
                "discipline": ("Science", "Law")[number % 2],
                "field": "Mathematics",
                "subfield": "Numbers",
                "difficulty": ("easy", "hard")[number % 2],
                "is_calculation": False,
            }
            for number in range(PER_TASK)
        ]
        self._write("supergpqa/test.jsonl", rows)

    def _livebench(self) -> None:
        for category, tasks in LIVEBENCH.items():
            for task in tasks:
                question, columns, right = _LIVEBENCH_ITEMS[task]
                rows = [
                    {
                        "question_id": f"{task}-{number}",
                        "category": category,
                        "task": task,
                        "turns": [self._asked(question, right)],
                        "livebench_release_date": "2024-11-25",
                        "livebench_removal_date": "",
                        **columns,
                    }
                    for number in range(PER_TASK)
                ]
                self._write(f"livebench/{category}/{task}/question.jsonl", rows)

    def _mixeval(self) -> None:
        """Options are right in turn: A, B, A."""
        common = {"context": None, "benchmark_name": "made"}
        halves: dict[str, list[Row]] = {
            "free-form": [
                {**common, "problem_type": "free-form", "prompt": self._asked("What bird?", ""), "target": ["heron"]}
                for _ in range(PER_TASK)
            ],
            "multiple-choice": [
                {
                    **common,
                    "problem_type": "multiple-choice",
                    "prompt": self._asked("Which bird?", ""),
                    "options": ["heron", "crow"],
                    "target": [number % 2],
                }
                for number in range(PER_TASK)
            ],
        }
        folder = self.root / "mixeval_hard/2024-08-11"
        folder.mkdir(parents=True)
        for half, rows in halves.items():
            text = json.dumps({str(number): row for number, row in enumerate(rows)})
            (folder / f"{half}.json").write_text(text, encoding="utf-8")

    def _arenahard(self) -> None:
        questions: list[Row] = [
            {
                "uid": f"made-{number}",
                "category": "arena-hard-v0.1",
                "cluster": f"topic {number}",
                "prompt": self._asked("Write something.", ""),
            }
            for number in range(PER_TASK)
        ]
        answers: list[Row] = [
            {
                "uid": question["uid"],
                "model": "gpt-4-0314",
                "messages": [
                    {"role": "user", "content": question["prompt"]},
                    {"role": "assistant", "content": {"answer": "Something."}},
                ],
            }
            for question in questions
        ]
        self._write("arenahard/v0.1/question.jsonl", questions)
        self._write("arenahard/v0.1/model_answer/gpt-4-0314.jsonl", answers)

    def _aime(self) -> None:
        rows: list[Row] = [
            {
                "ID": f"2024-I-{number}",
                "Problem": self._asked(f"Find {number} + 1.", rf"It is $\boxed{{{number + 1}}}$."),
                "Solution": "Add.",
                "Answer": number + 1,
            }
            for number in range(PER_TASK)
        ]
        self._write("aime_2024/test.jsonl", rows)

    def _math(self) -> None:
        rows: list[Row] = [
            {
                "problem": self._asked(f"Find {number}/7.", rf"So $\boxed{{\frac{{{number}}}{{7}}}}$."),
                "level": f"Level {number}",
                "type": "Algebra",
                "solution": rf"It is $\boxed{{\frac{{{number}}}{{7}}}}$.",
            }
            for number in range(1, PER_TASK + 1)
        ]
        self._write("math/test.jsonl", rows)

    def _mbpp_plus(self) -> None:
        rows: list[Row] = [
            {
                "task_id": f"Mbpp/{9000 + number}",  # inputs of some of the official ones become tuples
                "prompt": '"""\n'
                + self._asked(f"Add {number}.", f"```python\ndef add(x):\n    return {number} + x\n```")
                + '\n"""\n',
                "entry_point": "add",
                "canonical_solution": f"\ndef add(x):\n    return x + {number}\n",
                "base_input": [[1], [2]],
                "plus_input": [[-1], [10**9]],
                "atol": 0,
                "contract": "",
                "assertion": f"assert add(1) == {1 + number}",
            }
            for number in range(1, PER_TASK + 1)
        ]
        self._write("mbpp_plus/MbppPlus.jsonl", rows)
