"""The study of three ratios, whole: one command of ours against a script over the tools that others would take.

Both merge the testbed's base, instruct and distilled models at alpha 0.1, 0.5 and 0.9, train each actor with PPO
against the testbed's reward model, score it on the testbed's benchmarks, and log to a sqlite MLflow store. The script
runs, for each ratio, `mergekit-yaml`, a program on TRL 1.12's PPOTrainer (peers/script_ppo.py) and the `lm_eval`
command on the actor that it saved; a last program logs all three runs (peers/script_log.py). Every step is a process
of its own, in an environment of its own, and hands over by folders. TRL takes neural networks as rewards and one
learning rate for both networks, so this is what both sides have.

The same on both sides: prompts, steps, batches, minibatches, epochs, longest response, learning rates, fp32, threads,
items, greedy answers. Responses are drawn, so their tokens differ a little: both sides' are reported, and items and
logged steps must be the same, or the run fails. Wall time from the start of the first process to the end of the last,
the machine's file cache warm.

    python benchmarks/sweep_vs_script.py [--steps 20] [--threads 2] [--workers 2]

With --workers 2 ours also runs with two trials at a time, the same threads divided. --limit 4 (items of each
benchmark) and --steps 2 make a run that only shows that all works.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import ROOT, peer_python, peer_versions, report, seconds

from bai_sweep.sources import testbed_weights
from bai_sweep.testbed import prompt_dataset

HERE = Path(__file__).resolve().parent
ALPHAS = ("0.1", "0.5", "0.9")
TASKS = ("testbed_knowledge", "testbed_arithmetic", "testbed_arena")
REQUIREMENTS = {
    "mergekit": ["torch==2.13.0", "mergekit==0.1.5"],
    "trl": ["torch==2.13.0", "transformers==5.23.0", "trl==1.12.0"],
    "lm_eval": ["torch==2.13.0", "transformers==5.23.0", "lm-eval[hf]==0.4.13"],
    "mlflow": ["mlflow==3.17.2"],
}
WARM = {
    "mergekit": "import mergekit.merge",
    "trl": "import trl.experimental.ppo",
    "lm_eval": "import lm_eval.models.huggingface, peft",
    "mlflow": "import mlflow",
}
BATCH, MINIBATCH, EPOCHS, NEW_TOKENS = 32, 8, 1, 200
LEARNING_RATE, KL_COEF = 1e-4, 0.02
PEER_BATCH = 64  # items in one pass of lm_eval, as in eval_vs_cli.py
LOGGED = "objective/scores"  # a name that both sides log at every step


@dataclass(frozen=True)
class Study:
    """What both sides are asked for, and where they write."""

    steps: int
    limit: int | None
    threads: int
    root: Path


@dataclass
class Outcome:
    """One side's run.

    Args:
        wall: Seconds.
        cpu: Processor seconds of all its processes.
        stages: Seconds of each stage, one for each alpha; of logging one.
        tokens: Response tokens in PPO for each alpha.
        items: Items scored for each alpha.
        scores: Mean points (0 to 100) of each task for each alpha.
        logged: Values of `LOGGED` in the MLflow store.
    """

    wall: float = 0.0
    cpu: float = 0.0
    stages: dict[str, list[float]] = field(default_factory=dict)
    tokens: list[int] = field(default_factory=list)
    items: list[int] = field(default_factory=list)
    scores: list[dict[str, float]] = field(default_factory=list)
    logged: int = 0


def environment(threads: int) -> dict[str, str]:
    """Of every process on both sides; nobody waits for a network."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "TRL_EXPERIMENTAL_SILENCE": "1",
    }


def run(
    command: Sequence[str | Path], cwd: Path, threads: int, log: Path, extra: Mapping[str, str] | None = None
) -> float:
    """Wall seconds of a process that writes to `log`; ends the benchmark if it fails."""
    print(f"{log.stem} ...", file=sys.stderr, flush=True)
    variables = {**environment(threads), **(extra or {})}
    start = time.perf_counter()
    with log.open("w") as written:
        done = subprocess.run(command, cwd=cwd, env=variables, stdout=written, stderr=subprocess.STDOUT, check=False)
    spent = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{log.stem} failed with {done.returncode}:\n{log.read_text()[-3000:]}")
    return spent


def ours(study: Study, workers: int) -> Outcome:
    """One command, from an empty folder."""
    folder = study.root / f"ours-{workers}"
    folder.mkdir()
    threads = max(1, study.threads // workers)
    command = [
        sys.executable, "-m", "bai_sweep", "-m", f"alpha={','.join(ALPHAS)}", "reward=model", f"workers={workers}",
        f"threads={threads}", "tracking=mlflow", "tracking.uri=sqlite:///mlflow.db",
        "rl.precision=fp32", f"rl.steps={study.steps}", f"rl.batch_size={BATCH}", f"rl.minibatch_size={MINIBATCH}",
        f"rl.ppo_epochs={EPOCHS}", f"rl.max_new_tokens={NEW_TOKENS}", f"rl.kl_coef={KL_COEF}",
        f"rl.actor_learning_rate={LEARNING_RATE}", f"rl.critic_learning_rate={LEARNING_RATE}",
        "++evaluation.benchmarks.arithmetic.temperature=0.0", "evaluation.benchmarks.knowledge.chat_template=true",
    ]  # fmt: skip
    if study.limit is not None:
        command += [f"evaluation.benchmarks.{t.removeprefix('testbed_')}.limit={study.limit}" for t in TASKS]
    found = Outcome()
    start = processor_seconds()
    found.wall = run(command, folder, threads, study.root / f"ours, {workers} workers.log")
    found.cpu = processor_seconds() - start
    for trial in sorted((folder / "results" / "default" / "trials").iterdir(), key=lambda path: int(path.name)):
        add_trial(found, trial)
    found.logged = logged(folder / "mlflow.db")
    return found


def add_trial(found: Outcome, folder: Path) -> None:
    """What a trial of ours did."""
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    for stage, spent in result["seconds"].items():
        found.stages.setdefault(stage, []).append(spent)
    lengths = [step["metrics"]["completions/mean_length"] for step in result["telemetry"]]
    found.tokens.append(round(BATCH * sum(lengths)))
    points: dict[str, list[float]] = {}
    for path in (folder / "samples").glob("*.jsonl"):
        for item in map(json.loads, path.read_text().splitlines()):
            points.setdefault(item["task"], []).append(item["points"])
    found.items.append(sum(map(len, points.values())))
    found.scores.append({task: sum(points[task]) / len(points[task]) for task in TASKS})


def script(study: Study, pythons: Mapping[str, Path]) -> Outcome:
    """The script: three processes for each ratio, and one for the log."""
    folder = study.root / "script"
    folder.mkdir()
    prompts = folder / "prompts.jsonl"
    rows = prompt_dataset(study.steps * BATCH, seed=0)
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = Outcome()
    start = processor_seconds()
    found.wall = seconds(lambda: run_script(study, pythons, folder, prompts, found))
    found.cpu = processor_seconds() - start
    for alpha in ALPHAS:
        add_ratio(found, folder / f"alpha-{alpha}")
    found.logged = logged(folder / "mlflow.db")
    return found


def run_script(study: Study, pythons: Mapping[str, Path], folder: Path, prompts: Path, found: Outcome) -> None:
    """Every process in its turn."""
    for alpha in ALPHAS:
        done = folder / f"alpha-{alpha}"
        done.mkdir()
        for stage, command in stages(study, pythons, done, float(alpha), prompts).items():
            # the tasks take their items and checks from our package, for which the root need only be on the path
            extra = {"PYTHONPATH": str(ROOT)} if stage == "evaluation" else None
            log = study.root / f"script, alpha {alpha}, {stage}.log"
            found.stages.setdefault(stage, []).append(run(command, done, study.threads, log, extra))
    command = [pythons["mlflow"], HERE / "peers" / "script_log.py", f"sqlite:///{folder / 'mlflow.db'}", folder]
    log = study.root / "script, logging.log"
    found.stages["logging"] = [run([*command, *ALPHAS], folder, study.threads, log)]


def stages(
    study: Study, pythons: Mapping[str, Path], done: Path, alpha: float, prompts: Path
) -> dict[str, list[str | Path]]:
    """The three commands of one ratio, in order."""
    limit = [] if study.limit is None else ["--limit", str(study.limit)]
    return {
        "merge": [
            pythons["mergekit"].parent / "mergekit-yaml", recipe(done, alpha), done / "merged",
            "--num-threads", str(study.threads), "--quiet",
        ],
        "ppo": [
            pythons["trl"], HERE / "peers" / "script_ppo.py", "--model", done / "merged",
            "--reward", testbed_weights() / "reward", "--prompts", prompts, "--out", done / "actor",
            "--steps", str(study.steps), "--batch-size", str(BATCH), "--minibatch-size", str(MINIBATCH),
            "--epochs", str(EPOCHS), "--max-new-tokens", str(NEW_TOKENS),
            "--learning-rate", str(LEARNING_RATE), "--kl-coef", str(KL_COEF),
        ],
        "evaluation": [
            pythons["lm_eval"].parent / "lm_eval", "--model", "hf",
            "--model_args", f"pretrained={done / 'actor'},dtype=float32", "--tasks", ",".join(TASKS),
            "--include_path", ROOT / "evaluators", "--device", "cpu", "--batch_size", str(PEER_BATCH),
            "--apply_chat_template", "--gen_kwargs", "temperature=0,do_sample=False",
            "--output_path", done / "scores", *limit,
        ],
    }  # fmt: skip


def recipe(done: Path, alpha: float) -> Path:
    """The merge for mergekit: linear, not normalised, in float32 as PPO trains."""
    weights = {"base": alpha, "instruct": (1 - alpha) / 2, "distilled": (1 - alpha) / 2}
    models = "\n".join(
        f"  - model: {testbed_weights() / name}\n    parameters:\n      weight: {weight}"
        for name, weight in weights.items()
    )
    path = done / "mergekit.yaml"
    path.write_text(
        f"merge_method: linear\nmodels:\n{models}\nparameters:\n  normalize: false\ndtype: float32\n", encoding="utf-8"
    )
    return path


def add_ratio(found: Outcome, done: Path) -> None:
    """What the script did for a ratio."""
    found.tokens.append(sum(json.loads((done / "actor" / "history.json").read_text())["tokens"]))
    (path,) = (done / "scores").glob("**/results_*.json")
    results: dict[str, Any] = json.loads(path.read_text())
    found.items.append(sum(results["n-samples"][task]["effective"] for task in TASKS))
    metrics = dict(zip(TASKS, ("acc,none", "exact_match,none", "win_rate,none"), strict=True))
    found.scores.append({task: 100.0 * results["results"][task][name] for task, name in metrics.items()})


def logged(store: Path) -> int:
    """How many values of `LOGGED` are in an MLflow store."""
    with closing(sqlite3.connect(store)) as database:
        (count,) = database.execute("select count(*) from metrics where key = ?", (LOGGED,)).fetchone()
    return int(count)


def processor_seconds() -> float:
    """Of all processes that have ended, and those that they waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def warm_up(pythons: Mapping[str, Path]) -> None:
    """Every side's libraries into the file cache, so that none pays for being the first to be read."""
    ours_imports = (
        "import accelerate, datasets, lm_eval, matplotlib.pyplot, mlflow, optuna, plotly, torch, transformers"
    )
    for python, code in [(Path(sys.executable), ours_imports), *((pythons[name], WARM[name]) for name in WARM)]:
        subprocess.run([python, "-c", code], check=True, capture_output=True, env=environment(1))


def check_work(study: Study, *sides: Outcome) -> None:
    """Ends the run unless all scored the same number of items and logged every step."""
    expected = study.steps * len(ALPHAS)
    for side in sides:
        if side.logged != expected:
            sys.exit(f"a store has {LOGGED} of every step; expected {expected}, got {side.logged}")
        if side.items != sides[0].items:
            sys.exit(f"all sides score the same items; got {side.items} and {sides[0].items}")


def summary(side: Outcome) -> dict[str, Any]:
    """For the JSON line."""
    return {
        "seconds": round(side.wall, 1),
        "processor seconds": round(side.cpu, 1),
        "seconds by stage": {stage: round(sum(spent), 1) for stage, spent in side.stages.items()},
        "seconds by stage and alpha": {stage: [round(s, 1) for s in spent] for stage, spent in side.stages.items()},
        "response tokens": sum(side.tokens),
        "response tokens by alpha": side.tokens,
        "items by alpha": side.items,
        "scores by alpha": [{task: round(value, 1) for task, value in scores.items()} for scores in side.scores],
        "steps logged": side.logged,
    }


def main() -> None:
    """Ours, then the script, then ours with more workers if asked for; prints the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20, help="of PPO, for each ratio")
    parser.add_argument("--limit", type=int, default=None, help="items of each benchmark; left out: all")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="in all, on both sides")
    parser.add_argument("--workers", type=int, default=1, help="above 1: ours once more with as many trials at a time")
    given = parser.parse_args()
    pythons = {name: peer_python(name, packages) for name, packages in REQUIREMENTS.items()}
    warm_up(pythons)
    with tempfile.TemporaryDirectory() as temporary:
        study = Study(given.steps, given.limit, given.threads, Path(temporary))
        sides = {"ours": ours(study, 1), "script": script(study, pythons)}
        if given.workers > 1:
            sides[f"ours, {given.workers} workers"] = ours(study, given.workers)
    check_work(study, *sides.values())
    mine, theirs = sides["ours"], sides["script"]
    per_token = [sum(side.stages["ppo"]) / sum(side.tokens) for side in (mine, theirs)]
    report(
        "sweep_vs_script",
        ours=mine.wall,
        peer=theirs.wall,
        floor=None,
        versions={name: peer_versions(python, [name])[name] for name, python in pythons.items()},
        results={
            "unit": "seconds of a study of three ratios",
            "steps": study.steps,
            "threads": study.threads,
            "ratios": {name: round(theirs.wall / side.wall, 2) for name, side in sides.items() if side is not theirs},
            "ratio of processor seconds": round(theirs.cpu / mine.cpu, 2),
            "ratio of PPO's seconds per response token": round(per_token[1] / per_token[0], 2),
            "sides": {name: summary(side) for name, side in sides.items()},
        },
    )


if __name__ == "__main__":
    main()
