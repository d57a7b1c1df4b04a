"""Whether a folder holds the actor that a trial started from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bai_sweep.config import ModelConfig
from bai_sweep.merging import digest_of, initialise, inputs_of
from bai_sweep.promotion._subject import Subject
from bai_sweep.records import UserError
from bai_sweep.sources import reading

_SHOWN = 12  # of a digest's characters


def require_same_inputs(subject: Subject) -> None:
    """The trial's models are what they were when it merged them, as far as it noted that.

    Raises:
        UserError: They are not; every difference is named.
    """
    noted = subject.recipe.inputs
    if not noted:
        return
    differences = list(_differences(noted, inputs_of(subject.setup.model, subject.setup.actor)))
    if differences:
        listed = "\n".join(f"  - {difference}" for difference in differences)
        raise UserError(
            f"the models are not what trial {subject.number} merged, so that this would be another actor:\n{listed}\n"
            "put the files back, or name where they are: model.base=<folder>, model.sft.<name>=<folder>"
        )


def _differences(noted: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]]) -> list[str]:
    found = []
    for model in {**noted, **now}:
        before, after = noted.get(model, {}), now.get(model, {})
        for file in sorted({*before, *after}):
            was, is_ = before.get(file), after.get(file)
            if was is None:
                found.append(f"{model}: {file} is new")
            elif is_ is None:
                found.append(f"{model}: {file} is gone")
            elif was != is_:
                found.append(f"{model}: {file} had sha256 {was[:_SHOWN]}, has {is_[:_SHOWN]}")
    return found


def prove(subject: Subject, folder: Path, dtype: str) -> dict[str, Any]:
    """Loads the folder as a user would and compares it, bit for bit, with what the trial's PPO started from.

    The weights are compared in the trial's dtype. A folder whose dtype is neither that nor float32 is compared with a
    merge of its own dtype, and a merge of the trial's dtype with what the trial noted.

    Returns:
        For the manifest: `sha256` and `dtype` of what was compared, and `checked`, a line for people.

    Raises:
        UserError: They differ, or the folder does not load.
    """
    model = subject.setup.model
    exact = dtype in ("float32", model.dtype)
    if subject.digest and not exact:
        _require(subject, _merged(subject, model), subject.digest)
    compared = model if exact else model.model_copy(update={"dtype": dtype})
    noted = subject.digest if exact else None
    expected = noted or _merged(subject, compared)
    _require(subject, _loaded(folder, compared.dtype), expected)
    if subject.digest:
        checked = "the weights are those of the actor that the trial merged, bit for bit"
        if not exact:
            checked += f", rounded to {dtype}"
    else:
        checked = "the weights are those of the same merge made anew; the trial noted no digest to compare with"
    return {"sha256": expected, "dtype": compared.dtype, "checked": checked}


def _merged(subject: Subject, model: ModelConfig) -> str:
    return digest_of(initialise(model, subject.setup.actor).model)


def _loaded(folder: Path, dtype: str) -> str:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with reading(str(folder)):
        AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), local_files_only=True)
    return digest_of(model)


def _require(subject: Subject, found: str, expected: str) -> None:
    if found != expected:
        raise UserError(
            f"this merge is not the actor that trial {subject.number} started from: its digest is {found[:_SHOWN]}, "
            f"the trial's {expected[:_SHOWN]}, though the models are the same files. Promote on the machine, and with "
            "the versions, that ran the trial (artifacts/environment.json in its folder): another kind of processor "
            "may round differently"
        )
