"""What the stage and the processes it starts tell each other, as files in a folder, none of them a pickle.

To each step that the first process tells, the stage answers with a byte on its standard input: without the answer it
would be in a later step by the time somebody wants to stop after this one.
Among themselves the processes of a run do pickle (torch's `all_gather_object`), over connections of their own.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from bai_sweep.config import PPOSettings, RewardConfig

GO, STOP = b"g", b"s"
"""The stage's answers to a step."""


@dataclass(frozen=True)
class Job:
    """A training run as its processes read it.

    Args:
        settings: PPO's hyperparameters.
        reward: Prompts and reward functions.
        seed: The run's.
        device: Its kind: `cpu` or `cuda`.
        dtype: Of the actor's weights.
        threads: Of each process.
        probes: Where the models are to which the KL is reported too, by name.
        folder: The trial's, for checkpoints.
    """

    settings: PPOSettings
    reward: RewardConfig
    seed: int
    device: str
    dtype: str
    threads: int
    probes: Mapping[str, str] | None
    folder: Path | None

    def write(self, folder: Path) -> None:
        """To `job.json`."""
        raw = dataclasses.asdict(self) | {
            "settings": self.settings.model_dump(mode="json"),
            "reward": self.reward.model_dump(mode="json"),
            "folder": None if self.folder is None else str(self.folder.resolve()),
        }
        (folder / "job.json").write_text(json.dumps(raw), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Job:
        """What `write` wrote."""
        raw = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        settings, reward = PPOSettings(**raw["settings"]), RewardConfig.model_validate(raw["reward"])
        trial = None if raw["folder"] is None else Path(raw["folder"])
        return cls(**{**raw, "settings": settings, "reward": reward, "folder": trial})


def write_actor(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """The actor as a Hugging Face folder."""
    model.save_pretrained(folder / "actor")
    tokenizer.save_pretrained(folder / "actor")


def read_actor(folder: Path, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """What `write_actor` wrote."""
    model = AutoModelForCausalLM.from_pretrained(folder / "actor", dtype=dtype)
    return model, AutoTokenizer.from_pretrained(folder / "actor")


def write_trained(model: PreTrainedModel, folder: Path) -> None:
    """The weights under the names that they have in the model."""
    save_model(model, str(folder / "trained.safetensors"))


def read_trained(model: PreTrainedModel, folder: Path) -> None:
    """Puts trained weights into the caller's model."""
    load_model(model, folder / "trained.safetensors")


class Said:
    """The lines of JSON that one process appends for the stage to read while it runs."""

    def __init__(self, folder: Path, rank: int) -> None:
        self.path = folder / f"said-{rank}.jsonl"

    def say(self, kind: str, value: Any) -> None:
        """Appends one."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({kind: value}) + "\n")

    def read(self, offset: int) -> tuple[list[tuple[str, Any]], int]:
        """The whole lines from a byte on, and the byte after them."""
        if not self.path.exists():
            return [], offset
        with self.path.open("rb") as file:
            file.seek(offset)
            whole = file.read().rpartition(b"\n")[0]
        if not whole:
            return [], offset
        said = [next(iter(json.loads(line).items())) for line in whole.split(b"\n")]
        return said, offset + len(whole) + 1
