"""Merging three checkpoints of 0.5B parameters at alpha 0.5: ours, mergekit 0.1.5, and a plain read and write.

The models have the shape of Qwen2-0.5B: bf16, sharded, seeded. Measured in turn, in one run: a whole process (from the
command to the finished folder), the merge phase alone (imports done), the most memory each holds beyond the page cache
(anonymous and shared pages), and, as in a worker, a new alpha in the live parameters against one copy of them in
memory. The floor reads the same bytes into a buffer and writes as many as the result has. The fastest run counts.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from common import peer_python, peer_versions, report
from safetensors.torch import load_file
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from bai_sweep.sources import testbed_weights

ALPHA = 0.5
WEIGHTS = {"base": ALPHA, "instruct": (1 - ALPHA) / 2, "distilled": (1 - ALPHA) / 2}
SHAPE = {
    "vocab_size": 151936,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}
PIECE = 1 << 20
HERE = Path(__file__).resolve().parent
STAGES = HERE / "peers" / "merge_stages.py"


def make_models(root: Path) -> None:
    """Three models of one shape with different weights."""
    tokenizer = AutoTokenizer.from_pretrained(testbed_weights() / "base")
    torch.set_default_dtype(torch.bfloat16)
    for seed, name in enumerate(WEIGHTS):
        torch.manual_seed(seed)
        Qwen2ForCausalLM(Qwen2Config(**SHAPE)).save_pretrained(root / name, max_shard_size="400MB")
        tokenizer.save_pretrained(root / name)
    torch.set_default_dtype(torch.float32)


def recipe(root: Path) -> Path:
    """The same merge for mergekit: linear, not normalised, the arithmetic in float32."""
    models = "\n".join(
        f"  - model: {root / name}\n    parameters:\n      weight: {weight}" for name, weight in WEIGHTS.items()
    )
    path = root / "mergekit.yaml"
    path.write_text(
        f"merge_method: linear\nmodels:\n{models}\n"
        "parameters:\n  normalize: false\ndtype: float32\nout_dtype: bfloat16\n"
    )
    return path


def held(pid: int) -> int:
    """Bytes of anonymous and shared memory that a process and its children hold: what is not the page cache's.

    A page that several share counts once, in parts (PSS).
    """
    found = 0
    for one in [pid, *children(pid)]:
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        found += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
    return found


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def run(command: Sequence[str | Path], threads: int) -> tuple[float, int, str]:
    """Wall seconds of a process, the most memory that it held, what it printed last."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    start, most = time.perf_counter(), 0
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen(list(map(str, command)), env=environment, stdout=printed, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            most = max(most, held(process.pid))
            time.sleep(0.02)
        taken = time.perf_counter() - start
        printed.seek(0)
        lines = printed.read().strip().splitlines()
    if process.returncode:
        raise SystemExit(f"{command[0]} failed with {process.returncode}")
    return taken, most, lines[-1] if lines else ""


def floor(root: Path, out: Path) -> float:
    """Seconds to read every input byte into a buffer and to write as many as one model has."""
    start = time.perf_counter()
    buffer = bytearray(PIECE)
    out.mkdir()
    for name in WEIGHTS:
        for shard in sorted((root / name).glob("*.safetensors")):
            with shard.open("rb", buffering=0) as stored:
                while stored.readinto(buffer):
                    pass
    for shard in sorted((root / "base").glob("*.safetensors")):
        with (out / shard.name).open("wb", buffering=0) as written:
            for start_of_piece in range(0, shard.stat().st_size, PIECE):
                written.write(memoryview(buffer)[: min(PIECE, shard.stat().st_size - start_of_piece)])
    return time.perf_counter() - start


def load_folder(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a folder."""
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def largest_difference(ours: Path, theirs: Path) -> float:
    """Largest difference between the two outputs, in units in the last place of bf16 at the element."""
    mine, peers = load_folder(ours), load_folder(theirs)
    worst = 0.0
    for name, tensor in mine.items():
        gap = (tensor.float() - peers[name].float()).abs()
        ulp = torch.finfo(torch.bfloat16).eps * peers[name].float().abs().clamp_min(1e-30)
        worst = max(worst, (gap / ulp).max().item())
    return worst


def main() -> None:
    """Measures every side in turn and prints the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    threads = arguments.threads
    peer = peer_python("mergekit", ["torch==2.13.0", "mergekit==0.1.5"])
    seconds: dict[str, list[float]] = {}
    memory: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        make_models(root)
        ours, theirs, plain = root / "ours", root / "theirs", root / "plain"
        sft = [f"sft.{name}={root / name}" for name in WEIGHTS if name != "base"]
        merge = [sys.executable, "-m", "bai_sweep.merge", f"base={root / 'base'}", *sft, f"alpha={ALPHA}"]
        sides: dict[str, tuple[list[str | Path], Path]] = {
            "ours, process": ([*merge, f"threads={threads}", f"out={ours}"], ours),
            "mergekit, process": (
                [peer.parent / "mergekit-yaml", recipe(root), theirs, "--num-threads", str(threads), "--quiet"],
                theirs,
            ),
            "ours, merge phase": ([sys.executable, STAGES, "ours", root, ours, str(threads)], ours),
            "mergekit, merge phase": ([peer, STAGES, "mergekit", root, theirs, str(threads)], theirs),
        }
        for _ in range(arguments.rounds):
            shutil.rmtree(plain, ignore_errors=True)
            seconds.setdefault("floor", []).append(floor(root, plain))
            for side, (command, out) in sides.items():
                shutil.rmtree(out, ignore_errors=True)
                taken, most, last = run(command, threads)
                seconds.setdefault(side, []).append(float(last) if side.endswith("phase") else taken)
                memory[side] = max(memory.get(side, 0), most)
        difference = largest_difference(ours, theirs)
        _, _, last = run([sys.executable, STAGES, "live", root, ours, str(threads)], threads)
        live = json.loads(last)
    best = {side: min(values) for side, values in seconds.items()}
    report(
        "merge_vs_mergekit",
        ours=best["ours, process"],
        peer=best["mergekit, process"],
        floor=best["floor"],
        versions=peer_versions(peer, ["mergekit"]),
        results={
            "unit": "seconds a merge",
            "fastest of each": {side: round(value, 3) for side, value in best.items()},
            "medians": {side: round(sorted(v)[len(v) // 2], 3) for side, v in seconds.items()},
            "merge phase, ours over the floor": round(best["ours, merge phase"] / best["floor"], 2),
            "merge phase, mergekit over ours": round(best["mergekit, merge phase"] / best["ours, merge phase"], 2),
            "most memory beyond the page cache, MB": {side: round(value / 1e6) for side, value in memory.items()},
            "a new alpha in a worker": live,
            "largest difference, bf16 ulps": round(difference, 2),
        },
    )


if __name__ == "__main__":
    main()
