"""Scoring three merge ratios: one process of ours against three runs of the lm_eval command, on the same checkpoints.

The checkpoints are the testbed's base, instruct and distilled models merged at alpha 0.1, 0.5 and 0.9, saved
beforehand. Each side scores the testbed's three benchmarks (300 multiple-choice, 160 arithmetic and 60 open questions,
all in the chat format, greedy) from the start of its process to its scores: ours loads one checkpoint after the other
into one process, the command is run once for each, as a script would. Same tasks, prompts, limits, threads and dtype;
no answer is known beforehand. The scores of every item must be the same on both sides, or the run fails.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from common import ROOT, report, seconds

ALPHAS = (0.1, 0.5, 0.9)
TASKS = {"testbed_knowledge": "acc", "testbed_arithmetic": "exact_match", "testbed_arena": "win_rate"}
PEER_BATCH = 64
HERE = Path(__file__).resolve().parent


def make_checkpoints(root: Path) -> list[Path]:
    """One folder for each ratio, in float32."""
    folders = []
    for alpha in ALPHAS:
        folder = root / f"alpha-{alpha}"
        models = ["base=testbed://base", "sft.instruct=testbed://instruct", "sft.distilled=testbed://distilled"]
        command = [
            sys.executable,
            "-m",
            "bai_sweep.merge",
            *models,
            f"alpha={alpha}",
            f"out={folder}",
            "dtype=float32",
        ]
        subprocess.run([*command, "tokenizer=base"], check=True, capture_output=True, cwd=ROOT)
        folders.append(folder)
    return folders


def ours(folders: list[Path], out: Path, environment: dict[str, str]) -> dict[str, dict[str, float]]:
    """Per-item points of every checkpoint, by (task/document)."""
    command = [sys.executable, HERE / "peers" / "score_checkpoints.py", out, *folders]
    subprocess.run(
        command, check=True, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    found: dict[str, dict[str, float]] = json.loads((out / "points.json").read_text())
    return found


def command_line(folder: Path, out: Path, environment: dict[str, str]) -> None:
    """One run of lm_eval."""
    command = [
        Path(sys.executable).parent / "lm_eval", "--model", "hf", "--model_args", f"pretrained={folder},dtype=float32",
        "--tasks", ",".join(TASKS), "--include_path", ROOT / "evaluators", "--device", "cpu",
        "--batch_size", str(PEER_BATCH), "--apply_chat_template", "--log_samples", "--output_path", out,
        "--gen_kwargs", "temperature=0,do_sample=False",
    ]  # fmt: skip
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"lm_eval failed:\n{done.stderr[-3000:]}")


def points_of(out: Path) -> dict[str, float]:
    """Per-item points of a run of lm_eval, by (task/document)."""
    found: dict[str, float] = {}
    for task, metric in TASKS.items():
        (path,) = out.glob(f"**/samples_{task}_*.jsonl")
        for line in path.read_text().splitlines():
            sample: dict[str, Any] = json.loads(line)
            found[f"{task}/{sample['doc_id']}"] = 100.0 * float(sample[metric])
    return found


def main() -> None:
    """Both sides in turn; the fastest run of each counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    environment = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads), "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        folders = make_checkpoints(root)
        times: list[tuple[float, float]] = []
        for turn in range(arguments.rounds):
            mine, theirs = root / f"ours-{turn}", root / f"peer-{turn}"
            mine.mkdir()

            def run_ours(out: Path = mine) -> None:
                ours(folders, out, environment)

            def run_peer(out: Path = theirs) -> None:
                for folder in folders:
                    command_line(folder, out / folder.name, environment)

            times.append((seconds(run_ours), seconds(run_peer)))
            scored = json.loads((mine / "points.json").read_text())
            for folder in folders:
                expected = points_of(theirs / folder.name)
                different = [key for key, value in expected.items() if scored[folder.name].get(key) != value]
                if different or expected.keys() != scored[folder.name].keys():
                    sys.exit(
                        f"{folder.name}: {len(different)} of {len(expected)} items score otherwise: {different[:5]}"
                    )
        items = len(expected)
    report(
        "eval_vs_cli",
        ours=min(a for a, _ in times),
        peer=min(b for _, b in times),
        floor=None,
        versions={"lm-eval": version("lm-eval")},
        results={
            "alphas": ALPHAS,
            "items_each": items,
            "runs": times,
            "threads": arguments.threads,
            "identical": True,
        },
    )


if __name__ == "__main__":
    main()
