"""Makes a file of studies: what the detectors read of each trial's telemetry, with the study's command.

Of what tells the merge from the SFT models (`rl.kl_to_sft=true`) only the first step is kept: it is the merge's own.

python tests/data/record_runs.py recorded_runs.json results/surface results/paradigms ...
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from bai_sweep.records import TrialResult
from bai_sweep.stability import METRICS

OF_MERGES = ("objective/kl_to/", "objective/perplexity/")


def recorded(study: Path) -> dict[str, Any]:
    """A study's command and trials; figures to four significant digits."""
    command = json.loads((study / "study.json").read_text(encoding="utf-8"))["command"]
    trials = []
    for path in sorted(study.glob("trials/*/result.json"), key=lambda path: int(path.parent.name)):
        result = TrialResult.load(path.parent)
        series = {
            metric: [float(f"{step.metrics[metric]:.4g}") for step in result.telemetry if metric in step.metrics]
            for metric in METRICS.values()
        }
        begun = result.telemetry[0].metrics
        series |= {name: [float(f"{v:.4g}")] for name, v in begun.items() if name.startswith(OF_MERGES)}
        trials.append({"params": dict(result.params), "telemetry": series})
    return {"study": study.name, "command": command, "trials": trials}


def main() -> None:
    """Writes the file, a line for each trial."""
    name, *folders = sys.argv[1:]
    studies = [recorded(Path(folder)) for folder in folders]
    lines = []
    for study in studies:
        head = json.dumps({k: v for k, v in study.items() if k != "trials"})[:-1]
        trials = ",\n".join(f"  {json.dumps(trial)}" for trial in study["trials"])
        lines.append(f'{head}, "trials": [\n{trials}\n]}}')
    Path(__file__).with_name(name).write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
