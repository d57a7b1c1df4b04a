"""What stands in a model folder besides the weights: its configuration, its tokenizer, how it generates."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bai_sweep.merging._types import Dtype
from bai_sweep.records import UserError

if TYPE_CHECKING:
    from bai_sweep.merging._plan import MergePlan
    from bai_sweep.merging.vocabulary import VocabularyPlan

log = logging.getLogger(__name__)

DTYPE_NAMES: Mapping[str, str] = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}
# by name, so that nothing else gets in: no code, no pickles, no optimizer state, no other model's README
_TRAVELS = (
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
    for pattern in _TRAVELS:
        for path in sorted(source.glob(pattern)):
            target = folder / path.relative_to(source)
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, target)


def write_config(plan: MergePlan, dtype: Dtype, folder: Path) -> None:
    """config.json: the plan's, in the dtype of the weights, without what names other places."""
    config = _in_dtype(dict(plan.config), DTYPE_NAMES[dtype])
    config["dtype"] = DTYPE_NAMES[dtype]
    config.pop("_name_or_path", None)
    if config.pop("auto_map", None):
        log.warning(
            "the models bring code of their own, which is not copied: the result needs a class of transformers"
        )
    write_json(folder / "config.json", config)


def write_generation_config(plan: MergePlan, ends: list[int], source: Path, folder: Path) -> None:
    """generation_config.json of the tokenizer's model, or one of the configuration, with `ends` ending a response."""
    settings = read_json(source / "generation_config.json")
    if not settings:
        settings = {key: plan.config[key] for key in ("bos_token_id", "pad_token_id") if key in plan.config}
    # marked as derived from the configuration it would be derived anew, from one model's, without the others' ends
    settings.pop("_from_model_config", None)
    settings["eos_token_id"] = ends[0] if len(ends) == 1 else ends or None
    write_json(folder / "generation_config.json", {k: v for k, v in settings.items() if v is not None})


def ends_of(
    configs: Mapping[str, Mapping[str, Any]], folders: Mapping[str, Path], vocabulary: VocabularyPlan | None = None
) -> list[int]:
    """The token ids that end a response of any model, so that a merge ends as each of its models would.

    Args:
        configs: config.json of each model, parsed.
        folders: Where its generation_config.json may be.
        vocabulary: How the models' rows become the result's; None where all have the same. A token that the result
            lacks ends nothing; of a model that the plan does not know the ids are taken as they are.
    """
    found: set[int] = set()
    for name, config in configs.items():
        ends = {*_ends(config), *_ends(read_json(folders[name] / "generation_config.json"))}
        known = vocabulary is not None and name in vocabulary.maps
        mapped = (vocabulary.translated(name, end) if vocabulary and known else end for end in ends)
        found.update(end for end in mapped if end is not None)
    return sorted(found)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, empty where there is no file.

    Raises:
        UserError: The file is broken.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no JSON: {error}; get the file again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds {type(content).__name__}, a JSON object is needed; get the file again")
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """A JSON file for people: indented, in the order given."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """A text file in UTF-8."""
    path.write_text(text, encoding="utf-8")


def _ends(settings: Mapping[str, Any]) -> set[int]:
    value = settings.get("eos_token_id")
    if value is None and isinstance(inner := settings.get("text_config"), Mapping):
        return _ends(inner)
    if value is None:
        return set()
    return {value} if isinstance(value, int) else set(value)


def _in_dtype(settings: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """Wherever a configuration or a part of it names a dtype, this one."""
    return {
        key: dtype
        if key in ("dtype", "torch_dtype")
        else _in_dtype(value, dtype)
        if isinstance(value, Mapping) and key != "quantization_config"
        else value
        for key, value in settings.items()
    }
