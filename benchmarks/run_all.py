"""Runs every benchmark of this folder and rewrites docs/benchmarks.md from their JSON lines."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
NOT_BENCHMARKS = {"common.py", "run_all.py", "detectors.py", "early_warning.py", "selection.py"}  # errors, not time


def main() -> None:
    """A failing benchmark is named and the others go on; the exit code says so."""
    lines, failed = [], []
    for script in sorted(HERE.glob("*.py")):
        if script.name in NOT_BENCHMARKS:
            continue
        print(f"== {script.name}", flush=True)
        done = subprocess.run([sys.executable, script], stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            failed.append(script.name)
            continue
        last = done.stdout.strip().splitlines()[-1]
        print(last, flush=True)
        lines.append(json.loads(last))
    (HERE.parent / "docs" / "benchmarks.md").write_text(page(lines), encoding="utf-8")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def page(lines: list[dict[str, Any]]) -> str:
    """The Markdown page."""
    today = datetime.now(UTC).date().isoformat()
    rows = "\n".join(
        f"| {row['name']} | {row['ours']:g} | {row['peer']:g} | "
        f"{'-' if row['floor'] is None else format(row['floor'], 'g')} | {row['ratio']:g}x |"
        for line in lines
        for row in line["results"].get("table", [line])  # a benchmark of several workloads has a row for each
    )
    details = "\n\n".join(f"## {line['name']}\n\n```json\n{json.dumps(line, indent=1)}\n```" for line in lines)
    return (
        "# Benchmarks\n\n"
        f"Written by `make bench` on {today}. Seconds; the ratio is the peer's over ours (larger is better);\n"
        "of PPO, seconds per 1000 response tokens. Both sides ran in turn on one machine. What each one does stands\n"
        "at the top of its script in benchmarks/.\n\n"
        "| benchmark | ours | peer | floor | ratio |\n|---|---|---|---|---|\n"
        f"{rows}\n\n{details}\n"
    )


if __name__ == "__main__":
    main()
