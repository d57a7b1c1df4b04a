"""MBPP+ scored as evalplus scores it: code extracted from a response, run on all inputs, outputs judged outside.

`prompt` makes the message to the model; `score` takes its response to an item: passed base and plus tests or not.
"""

from bai_sweep.scoring.mbpp._extract import extract_code
from bai_sweep.scoring.mbpp._oracles import passed
from bai_sweep.scoring.mbpp._score import Verdict, base_item, judge, score
from bai_sweep.scoring.mbpp._task import Task, prompt

__all__ = ["Task", "Verdict", "base_item", "extract_code", "judge", "passed", "prompt", "score"]
