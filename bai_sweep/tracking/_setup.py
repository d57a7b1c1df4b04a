"""What every run logs about itself before it starts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bai_sweep.config import TrialConfig
from bai_sweep.tracking._environment import environment, git_diff
from bai_sweep.tracking._parameters import config_yaml, flatten
from bai_sweep.tracking._protocol import TrialRun

_TAGGED = ("git.commit", "git.dirty", "python", "gpu", "torch.threads", "package.torch", "package.bai-sweep")


def log_setup(run: TrialRun, config: TrialConfig | Mapping[str, Any]) -> None:
    """Parameters and config.yaml; environment.json and, in a changed checkout, git.diff; seeds; tags to search by."""
    seeds = {key: value for key, value in flatten(config).items() if key.split(".")[-1] == "seed"}
    found = environment(load_torch=True) | seeds
    run.log_params(flatten(config))
    run.log_text(config_yaml(config), "config.yaml")
    run.log_text(json.dumps(found, indent=1), "environment.json")
    if diff := git_diff():
        run.log_text(diff, "git.diff")
    tags = {f"env.{name}": found[name] for name in _TAGGED if name in found}
    tags |= seeds
    tags["mlflow.source.name"] = found["command"]
    if not found["git.commit"].startswith("none"):
        tags["mlflow.source.git.commit"] = found["git.commit"]
    run.set_tags(tags)
