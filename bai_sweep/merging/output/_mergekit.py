"""The same merge for mergekit 0.1.5, as the configuration that its commands take.

mergekit's formulas were read off its behaviour: a filter is a part of a tensor's name and the first that fits holds;
a list of values is a gradient over the layers, linear between its points, and its first point outside the layers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bai_sweep.merging._types import Dtype, Member, Method
from bai_sweep.merging.compatibility._tying import ties
from bai_sweep.merging.methods import Dare, Depth, Slerp, TaskArithmetic, Ties
from bai_sweep.merging.output._filters import weight_setting
from bai_sweep.merging.output._settings import DTYPE_NAMES, read_json
from bai_sweep.records import MergeRecipe

if TYPE_CHECKING:
    from bai_sweep.merging._plan import MergePlan

STAGE1 = "(stage1)"  # in brackets, which no model's name may have
_PINNED = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}")
_SNAPSHOT = re.compile(r"models--(?P<owner>.+?)--(?P<name>.+)")
_ADAPTER = "adapter_model.safetensors"
_OTHER_DRAWS = "mergekit drops other values than these: its random numbers are its own, and it rescales by the norm"


@dataclass(frozen=True)
class _Merge:
    """One document: how, of what, with which settings; and what a reader should know."""

    method: str
    weights: Mapping[str, Any]
    settings: Mapping[str, Any]
    base: str | None = None
    each: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def mergekit_yaml(
    plan: MergePlan, method: Method, recipe: MergeRecipe, members: Mapping[str, Member], dtype: Dtype
) -> str:
    """What `mergekit-yaml` (of one document) or `mergekit-multi` (of two) makes the same weights of."""
    import yaml

    stages = _stages(plan, method, recipe)
    models = {name: reference(member) for name, member in members.items()}
    notes = [note for stage in stages for note in stage.notes]
    if odd := [name for name, model in models.items() if _unreadable(members[name], model)]:
        notes.append(
            f"move {', '.join(odd)} first: mergekit stumbles over spaces, quotes, '+' and '@' in a folder's path"
        )
    notes += _adapter_notes(members)
    documents = []
    for number, stage in enumerate(stages, start=1):
        last = number == len(stages)
        saved = DTYPE_NAMES[dtype] if last else recipe.settings.get("dtype", "float32")
        document = _document(stage, models, saved)
        if not last:
            document = {"name": STAGE1, **document}
        if tokenizer := _tokenizer(plan, stage, models):
            document["tokenizer"] = tokenizer
            notes += _vocabulary_notes(plan) if last else []
        documents.append(document)
    one, two = (
        "mergekit-yaml mergekit.yaml OUT",
        "mergekit-multi mergekit.yaml --intermediate-dir STAGES --out-path OUT",
    )
    tool = one if len(stages) == 1 else two
    head = [f"{recipe.formula()} with mergekit 0.1.5: {tool}", *notes]
    lines = "".join(f"# {line}\n" for line in head)
    return lines + yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True, width=1000)


def reference(member: Member) -> str:
    """A model as mergekit names it: a folder's absolute path or `owner/name@revision`, an adapter after a plus."""
    adapter = _adapter(member)
    if adapter is None:
        return member.source if from_hub(member) else str(member.folder.absolute())
    own = member.source if from_hub(member) else str(adapter.parent.absolute())
    return f"{_place(member.files[0].parent)}+{own}"


def _adapter(member: Member) -> Path | None:
    return next((file for file in member.files if file.name == _ADAPTER), None)


def _unreadable(member: Member, model: str) -> bool:
    parts = model.split("+")
    expected = 2 if _adapter(member) else 1
    return len(parts) != expected or any(set(' "@') & set(part) for part in parts if part.startswith("/"))


def from_hub(member: Member) -> bool:
    """Whether its source is a hub id with the commit."""
    return bool(_PINNED.fullmatch(member.source)) and not Path(member.source).exists()


def _place(folder: Path) -> str:
    """A folder, as the hub's id if it is in the hub's cache."""
    if folder.parent.name == "snapshots" and (found := _SNAPSHOT.fullmatch(folder.parent.parent.name)):
        return f"{found['owner']}/{found['name']}@{folder.name}"
    return str(folder.absolute())


def _stages(plan: MergePlan, method: Method, recipe: MergeRecipe) -> list[_Merge]:  # noqa: PLR0911 - one for each method
    scale = _neat(getattr(method, "scale", 1.0))
    match method:
        case Depth():
            weights = {name: weight_setting(plan.tensors, method, name) for name in method.members}
            return [_Merge("linear", weights, {"normalize": False})]
        case Slerp() if len(method.members) > 1 and method.surveys:
            return _slerp(method)
        case TaskArithmetic() if scale:
            settings = {"normalize": False, "lambda": scale}
            return [_Merge("task_arithmetic", method.weights, settings, base=method.base)]
        case Ties() if scale:
            notes = () if method.election == "weight" else ("mergekit elects by weight only, this merge by count",)
            settings = {"normalize": True, "rescale": False, "lambda": scale}
            each = {"density": method.density}
            return [_Merge("ties", method.weights, settings, method.base, each, notes)]
        case Dare() if scale:
            return [_dare(method, scale)]
    if recipe.method == "two_save" and recipe.weights.get("base") != 1.0:
        return _two_save(recipe)
    return [_Merge("linear", _flat(method, recipe), {"normalize": False})]


def _flat(method: Method, recipe: MergeRecipe) -> dict[str, float]:
    """The flattened weights; where only the base is read, all of it."""
    if len(method.members) == 1:
        return {method.members[0]: _neat(recipe.weights.get(method.members[0], 1.0))}
    return {name: _neat(recipe.weights[name]) for name in method.members}


def _slerp(method: Slerp) -> list[_Merge]:
    settings = {"t": _neat(1.0 - method.alpha)}
    if list(method.weights.values()) == [1.0]:
        return [_Merge("slerp", dict.fromkeys(method.members), settings, base=method.base)]
    stage1 = _Merge("linear", method.weights, {"normalize": False})
    return [stage1, _Merge("slerp", {method.base: None, STAGE1: None}, settings, base=method.base)]


def _dare(method: Dare, scale: float) -> _Merge:
    by_count = ("mergekit elects by weight only, this merge by count",) if method.election == "count" else ()
    notes = (_OTHER_DRAWS, *by_count)
    name = "dare_linear" if method.election == "none" else "dare_ties"
    settings = {"normalize": False, "rescale": True, "lambda": scale}
    return _Merge(name, method.weights, settings, method.base, {"density": method.density}, notes)


def _two_save(recipe: MergeRecipe) -> list[_Merge]:
    alpha = recipe.weights.get("base", 0.0)
    weights = {n: _neat(w / (1.0 - alpha)) for n, w in recipe.weights.items() if n != "base"}
    joined = {"base": _neat(alpha), STAGE1: _neat(1.0 - alpha)} if alpha else {STAGE1: 1.0}
    settings = {"normalize": False}
    return [_Merge("linear", weights, settings), _Merge("linear", joined, settings)]


def _document(stage: _Merge, models: Mapping[str, str], saved: str) -> dict[str, Any]:
    names = [stage.base, *stage.weights] if stage.base and stage.base not in stage.weights else [*stage.weights]
    listed: list[dict[str, Any]] = []
    for name in names:
        entry: dict[str, Any] = {"model": models.get(str(name), str(name))}
        if name in stage.weights and stage.weights[name] is not None:
            entry["parameters"] = {"weight": stage.weights[name], **stage.each}
        listed.append(entry)
    base = {"base_model": models[stage.base]} if stage.base else {}
    return {
        "merge_method": stage.method,
        **base,
        "models": listed,
        "parameters": dict(stage.settings),
        "dtype": "float32",
        "out_dtype": saved,
    }


def _tokenizer(plan: MergePlan, stage: _Merge, models: Mapping[str, str]) -> dict[str, Any] | None:
    vocabulary = plan.vocabulary
    if all(vocabulary.maps.get(name) is None for name in models):
        return None
    if vocabulary.added or vocabulary.tokenizer not in models:
        return {"source": "union"}
    return {"source": models[vocabulary.tokenizer]} if vocabulary.tokenizer in stage.weights else {"source": "union"}


def _vocabulary_notes(plan: MergePlan) -> list[str]:
    return [
        "the vocabularies differ: for a token that a model lacks mergekit takes the base_model's row, else that of",
        f"the only model that has it, else a mean; it drops padded rows, this merge has {plan.vocabulary.rows}",
    ]


def _adapter_notes(members: Mapping[str, Member]) -> list[str]:
    """mergekit has PEFT make a model of an adapter, in the dtype of its base; PEFT keeps a tied head tied."""
    notes = []
    for name, member in members.items():
        if _adapter(member) is None:
            continue
        notes.append(f"mergekit rounds {name} to its base's dtype before the merge; this merge does not")
        if not ties(member.config) and ties(read_json(member.files[0].parent / "config.json")):
            notes.append(
                f"mergekit adds what {name} changes of the head to the embedding too, and back; this merge has two "
                "tensors"
            )
    return notes


def _neat(number: float) -> float:
    """Without the last bits that 1 - 0.9 and its like leave; far below what a float32 holds."""
    return float(f"{number:.15g}")


__all__: Sequence[str] = ["STAGE1", "from_hub", "mergekit_yaml", "reference"]
