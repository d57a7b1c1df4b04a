"""Whether an actor can be merged, found before anything is written."""

from __future__ import annotations

from pathlib import Path

from bai_sweep.config import MergedActor, ModelConfig, SFTActor
from bai_sweep.merging.live._process import opened
from bai_sweep.merging.methods import method_of
from bai_sweep.sources import resolve


def check(model: ModelConfig, actor: MergedActor | SFTActor) -> None:
    """Plans the merge of an actor if its checkpoints are on this machine; nothing is downloaded for a check.

    The plan is kept for the merge itself.

    Raises:
        UserError: A checkpoint is broken, or they do not fit together.
    """
    sources = (model.base, *model.sft.values())
    if all(Path(resolve(source)[0]).is_dir() for source in sources):
        with opened(model, method_of(actor).members):
            pass
