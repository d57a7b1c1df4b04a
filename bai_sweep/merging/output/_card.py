"""README.md: the model card that Hugging Face shows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bai_sweep.merging._types import Dtype, Member
from bai_sweep.merging.output._mergekit import from_hub
from bai_sweep.merging.output._settings import DTYPE_NAMES
from bai_sweep.records import MergeRecipe

if TYPE_CHECKING:
    from bai_sweep.merging._plan import MergePlan


def model_card(
    name: str,
    plan: MergePlan,
    recipe: MergeRecipe,
    *,
    dtype: Dtype,
    command: str | None,
    about: str = "",
) -> str:
    """The card of the merge in the folder `name`.

    Args:
        command: What rebuilds it, if it was typed.
        about: Sections of where it comes from.
    """
    parts = [
        _header(plan.members),
        f"# {name}\n\nA merge made with [bai_sweep]({_ADDRESS}), in {DTYPE_NAMES[dtype]}:\n\n    {recipe.formula()}\n",
        _table(recipe, plan),
        _tokens(plan),
        about,
        _rebuild(command),
        _doubts(plan),
    ]
    return "\n".join(part for part in parts if part)


_ADDRESS = "https://arxiv.org/abs/2509.00309"


def _header(members: Mapping[str, Member]) -> str:
    # without the commit: that is what the hub links to
    ids = [member.source.partition("@")[0] for member in members.values() if from_hub(member)]
    bases = "".join(f"- {json.dumps(name)}\n" for name in dict.fromkeys(ids))
    listed = f"base_model:\n{bases}" if bases else ""
    return f"---\n{listed}library_name: transformers\ntags:\n- merge\n- bai_sweep\n---\n"


def _table(recipe: MergeRecipe, plan: MergePlan) -> str:
    rows = [f"| {name} | `{m.source}` | {recipe.weights.get(name, 0.0):.6g} |\n" for name, m in plan.models.items()]
    return "| model | source | weight |\n|---|---|---|\n" + "".join(rows)


def _tokens(plan: MergePlan) -> str:
    vocabulary = plan.vocabulary
    text = f"Tokenizer, chat template and generation settings: {vocabulary.tokenizer}'s"
    if not vocabulary.added:
        return f"{text}.\n"
    names = ", ".join(f"`{token.token}`" for token in vocabulary.added[:10])
    more = f" and {len(vocabulary.added) - 10} more" if len(vocabulary.added) > 10 else ""
    return f"{text}, with {len(vocabulary.added)} tokens of the others: {names}{more}.\n"


def _rebuild(command: str | None) -> str:
    own = f"    {command}\n\n" if command else ""
    return (
        f"## To rebuild it\n\n{own}`mergekit.yaml` makes the same weights with mergekit; `merge.json` has every input "
        "file with its SHA-256.\n"
    )


def _doubts(plan: MergePlan) -> str:
    return "## Doubts\n\n" + "".join(f"- {doubt}\n" for doubt in plan.doubts) if plan.doubts else ""
