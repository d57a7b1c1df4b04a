"""What stands in a model folder besides the weights: its configuration, its tokenizer, how it generates."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bai_sweep.merging import _json
from bai_sweep.merging._types import Dtype, Member
from bai_sweep.merging.output._beside import is_full
from bai_sweep.records import UserError

if TYPE_CHECKING:
    from bai_sweep.merging._plan import MergePlan
    from bai_sweep.merging.inputs import Settings
    from bai_sweep.merging.vocabulary import VocabularyPlan

log = logging.getLogger(__name__)

GENERATION = "generation_config.json"
DTYPE_NAMES: Mapping[str, str] = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}
# by name, so that nothing else gets in: no code, no pickles, no optimizer state, no other model's README
TRAVELS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tekken.json",
    "*.model",
    "*.tiktoken",
    "chat_template.jinja",
    "chat_template.json",
    "chat_templates/*.jinja",
    "additional_chat_templates/*.jinja",
)


def copy_tokenizer(source: Path, folder: Path) -> None:
    """The tokenizer and its chat templates, byte for byte: a file that is saved anew may no longer load elsewhere."""
    for pattern in TRAVELS:
        for path in sorted(source.glob(pattern)):
            target = folder / path.relative_to(source)
            target.parent.mkdir(exist_ok=True)
            _copy(path, target)


def _copy(path: Path, target: Path) -> None:
    try:
        shutil.copyfile(path, target)
    except OSError as error:
        if is_full(error):
            raise
        raise UserError(
            f"{path}: a tokenizer's file cannot be copied ({error.strerror}); check its permissions, or remove it"
        ) from error


def write_config(plan: MergePlan, dtype: Dtype, folder: Path) -> None:
    """config.json: the plan's, in the dtype of the weights, without what names other places."""
    config = in_dtype(dict(plan.config), DTYPE_NAMES[dtype])
    config["dtype"] = DTYPE_NAMES[dtype]
    config.pop("_name_or_path", None)
    if config.pop("auto_map", None):
        log.warning(
            "the models bring code of their own, which is not copied: the result needs a class of transformers"
        )
    write_json(folder / "config.json", config)


def write_generation_config(plan: MergePlan, ends: list[int], folder: Path) -> None:
    """generation_config.json of the tokenizer's model, or one of the configuration, with `ends` ending a response."""
    settings = read_json(generation_folder(plan) / GENERATION)
    if not settings:
        settings = {key: plan.config[key] for key in ("bos_token_id", "pad_token_id") if key in plan.config}
    # marked as derived from the configuration it would be derived anew, from one model's, without the others' ends
    settings.pop("_from_model_config", None)
    settings["eos_token_id"] = ends[0] if len(ends) == 1 else ends or None
    write_json(folder / GENERATION, {k: v for k, v in settings.items() if v is not None})


def ends_of(models: Mapping[str, Member | Settings], vocabulary: VocabularyPlan | None = None) -> list[int]:
    """The token ids that end a response of any model, so that a merge ends as each of its models would.

    Args:
        models: Every model, read or not.
        vocabulary: How the models' rows become the result's; None where all have the same. A token that the result
            lacks ends nothing; of a model that the plan does not know the ids are taken as they are.

    Raises:
        UserError: A generation_config.json is broken, or an eos_token_id is no id.
    """
    found: set[int] = set()
    for name, model in models.items():
        generation = model.folder / GENERATION
        ends = {*_ends(model.config, f"config.json of {name}"), *_ends(read_json(generation), str(generation))}
        known = vocabulary is not None and name in vocabulary.maps
        mapped = (vocabulary.translated(name, end) if vocabulary and known else end for end in ends)
        found.update(end for end in mapped if end is not None)
    return sorted(found)


def generation_folder(plan: MergePlan) -> Path:
    """Where the tokenizer model's generation_config.json is, if it has one; an adapter may have its base's."""
    model = plan.models[plan.vocabulary.tokenizer]
    if isinstance(model, Member) and not (model.folder / GENERATION).is_file():
        return model.files[0].parent
    return model.folder


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, empty where there is no file.

    Raises:
        UserError: The file is broken.
    """
    return _json.read_json(path) if path.is_file() else {}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """A JSON file for people: indented, in the order given."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """A text file in UTF-8."""
    path.write_text(text, encoding="utf-8")


def _ends(settings: Mapping[str, Any], place: str) -> set[int]:
    value = settings.get("eos_token_id")
    if value is None and isinstance(inner := settings.get("text_config"), Mapping):
        return _ends(inner, place)
    ids = [] if value is None else value if isinstance(value, list) else [value]
    if any(type(token_id) is not int for token_id in ids):
        raise UserError(f"{place}: eos_token_id is a token's id or a list of ids; got {value!r}; correct it there")
    return set(ids)


def in_dtype(settings: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """Wherever a configuration or a part of it names a dtype, this one."""
    return {
        key: dtype
        if key in ("dtype", "torch_dtype")
        else in_dtype(value, dtype)
        if isinstance(value, Mapping) and key != "quantization_config"
        else value
        for key, value in settings.items()
    }
