"""Our side of eval_vs_cli.py: scores checkpoints one after the other in one process."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from bai_sweep import evaluation
from bai_sweep.evaluation.command import settings_of

GREEDY = ["evaluation.benchmarks.arithmetic.temperature=0.0", "evaluation.benchmarks.knowledge.chat_template=true"]


def main() -> None:
    """Arguments: a folder for the results, then the checkpoints."""
    out, *folders = map(Path, sys.argv[1:])
    found: dict[str, dict[str, float]] = {}
    for folder in folders:
        settings = settings_of([f"model={folder}", f"evaluation.cache_dir={out / 'cache'}", *_additions(GREEDY)])
        evaluation.evaluate(
            AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
            AutoTokenizer.from_pretrained(folder),
            settings.evaluation,
            device=torch.device("cpu"),
            on_progress=lambda done, total: None,
            samples_dir=out / folder.name,
        )
        found[folder.name] = {
            f"{line['task']}/{line['doc_id']}": line["points"]
            for path in sorted((out / folder.name).glob("*.jsonl"))
            for line in map(json.loads, path.read_text().splitlines())
        }
    (out / "points.json").write_text(json.dumps(found))


def _additions(overrides: list[str]) -> list[str]:
    return [f"++{override}" for override in overrides]


if __name__ == "__main__":
    main()
