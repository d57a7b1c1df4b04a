"""What every benchmark shares: the peers' environments, how things are timed, and the one JSON line at the end."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / ".peers"
OURS = ("bai-sweep", "torch", "transformers")


def peer_python(name: str, requirements: Sequence[str]) -> Path:
    """The interpreter of a peer's own virtual environment under .peers/, made on first use."""
    folder = PEERS / name
    python = folder / "bin" / "python"
    done = folder / ".installed"
    wanted = "\n".join(requirements)
    if not done.is_file() or done.read_text() != wanted:
        print(f"making .peers/{name}: {', '.join(requirements)}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        # one after the other, so that the first (torch) is not replaced by what a later one would rather have
        for requirement in requirements:
            subprocess.run([python, "-m", "pip", "install", "--quiet", requirement], check=True, stdout=sys.stderr)
        done.write_text(wanted)
    return python


def peer_versions(python: Path, packages: Sequence[str]) -> dict[str, str]:
    """Versions of packages in a peer's environment."""
    code = "import json, sys, importlib.metadata as m; print(json.dumps({p: m.version(p) for p in sys.argv[1:]}))"
    output = subprocess.run([python, "-c", code, *packages], check=True, capture_output=True, text=True).stdout
    found: dict[str, str] = json.loads(output)
    return found


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def alternating(ours: Callable[[], object], peer: Callable[[], object], rounds: int) -> tuple[float, float]:
    """The fastest of `rounds` runs of each side, taken in turn so that a busy moment hits both."""
    pairs = [(seconds(ours), seconds(peer)) for _ in range(rounds)]
    return min(a for a, _ in pairs), min(b for _, b in pairs)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else model
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version(), "system": platform.system()}


def report(
    name: str,
    *,
    ours: float,
    peer: float,
    floor: float | None,
    versions: Mapping[str, str],
    results: Mapping[str, Any] | None = None,
) -> None:
    """Prints the benchmark's one JSON line; `ratio` is the peer's time over ours, so that larger is better."""
    line = {
        "name": name,
        "ours": round(ours, 4),
        "peer": round(peer, 4),
        "floor": None if floor is None else round(floor, 4),
        "ratio": round(peer / ours, 2),
        "versions": {**{package: version(package) for package in OURS}, **versions},
        "machine": machine(),
        "results": dict(results or {}),
    }
    print(json.dumps(line))
