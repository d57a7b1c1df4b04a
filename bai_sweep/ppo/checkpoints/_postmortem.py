"""The batch on which training left the finite numbers, kept for whoever wants to know why.

`batch.jsonl` has one completion a line, `batch.safetensors` the tensors as far as the step came, `reason.txt` the
error. Numbers that are not finite stand in JSON as text ("nan", "inf"), which every reader takes and `float()` knows.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from bai_sweep.ppo._experience import Experience
from bai_sweep.ppo._prompts import PromptBatch
from bai_sweep.ppo.checkpoints._plain import plain
from bai_sweep.ppo.rollouts import Rollout

log = logging.getLogger(__name__)


@dataclass
class Evidence:
    """What a step has made so far; the rest is None.

    Args:
        step: Its number.
        batch: Prompts.
        rollout: Prompts and responses.
        completions: The responses' tokens.
        rewards: What each function gave, one a completion.
        experience: All that is learned from.
    """

    step: int
    batch: PromptBatch
    rollout: Rollout | None = None
    completions: Sequence[Sequence[int]] = ()
    rewards: Mapping[str, Sequence[float | None]] | None = None
    experience: Experience | None = None


def keep_evidence(evidence: Evidence, texts: Sequence[str], reason: str, folder: Path) -> Path | None:
    """Writes `divergence-step-<n>` into `folder`; None, and a line in the log, where that fails.

    Args:
        evidence: Of the step.
        texts: The completions as text.
        reason: What went wrong.
        folder: The run's.
    """
    place = folder / f"divergence-step-{evidence.step}"
    try:
        place.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps(plain(row)) for row in _rows(evidence, texts))
        (place / "batch.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        # Copies: safetensors takes no tensors that share memory, and all that is learned from may be the mask itself.
        save_file(
            {name: tensor.detach().cpu().contiguous().clone() for name, tensor in _tensors(evidence)},
            place / "batch.safetensors",
        )
        (place / "reason.txt").write_text(reason + "\n", encoding="utf-8")
    except (OSError, SafetensorError, TypeError, ValueError):  # the divergence is what matters
        log.exception("the batch of step %d could not be kept in %s", evidence.step, place)
        return None
    return place


def _rows(evidence: Evidence, texts: Sequence[str]) -> Iterator[dict[str, Any]]:
    rollout, batch, rewards = evidence.rollout, evidence.batch, evidence.rewards or {}
    for row, (prompt, ids) in enumerate(zip(batch.prompts, batch.token_ids, strict=True)):
        line: dict[str, Any] = {"prompt": prompt, "prompt_ids": list(ids)}
        if rollout is not None:
            line |= {"completion": texts[row], "completion_ids": list(evidence.completions[row])}
            line |= {"ended": bool(rollout.ended[row])}
        line["rewards"] = {name: given[row] for name, given in rewards.items()}
        line["columns"] = {name: values[row] for name, values in batch.columns.items()}
        yield line


def _tensors(evidence: Evidence) -> Iterator[tuple[str, Tensor]]:
    rollout, experience = evidence.rollout, evidence.experience
    if rollout is not None:
        yield from ((name, getattr(rollout, name)) for name in ("input_ids", "mask", "sampled_logprobs", "lengths"))
    if experience is not None:
        judgement = experience.judgement
        yield from ((name, getattr(judgement, name)) for name in ("logprobs", "reference", "entropies", "values"))
        yield from ((f"probe/{name}", tensor) for name, tensor in judgement.probes.items())
        yield from (
            (name, getattr(experience, name))
            for name in ("scores", "non_score_rewards", "advantages", "returns", "learned")
        )
        if experience.importance is not None:
            yield "importance", experience.importance
