"""Members of a merge from folders that transformers saved, held in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file

from bai_sweep.merging._types import Member
from tests.unit.merging.vocabulary_helpers import Held


def member(name: str, folder: Path, **config: Any) -> Member:
    """A model folder of one file; `config` changes what its config.json says."""
    arrays = {tensor: values.float().numpy() for tensor, values in load_file(folder / "model.safetensors").items()}
    stored = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kept = {key: value for key, value in {**stored, **config}.items() if value != "left out"}
    return Member(name, str(folder), folder, kept, Held(arrays), (folder / "model.safetensors",))


def made(name: str, arrays: Mapping[str, NDArray[np.float32]], **config: Any) -> Member:
    """A member of no folder."""
    return Member(name, f"somewhere/{name}", Path(name), {"model_type": "llama", **config}, Held(arrays), ())
