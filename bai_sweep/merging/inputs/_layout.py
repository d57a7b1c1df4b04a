"""Which files of a model folder hold its weights, and which folders are refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bai_sweep.merging._json import read_json
from bai_sweep.merging.inputs._header import Stored, read_header
from bai_sweep.records import UserError
from bai_sweep.sources import resolve

INDEX = "model.safetensors.index.json"
WHOLE = "model.safetensors"
ADAPTER = "adapter_model.safetensors"
ADAPTER_SETTINGS = "adapter_config.json"
# buffers that checkpoints of old versions of transformers hold and every version computes
_COMPUTED = ("rotary_emb.inv_freq",)
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_OTHER_FORMATS = ("*.gguf", "*.h5", "*.msgpack")
_CONVERT = """convert it in a place where running its code does no harm, and name the folder that this writes:
    from transformers import AutoModelForCausalLM, AutoTokenizer
    AutoModelForCausalLM.from_pretrained({model}, dtype="auto").save_pretrained("converted")
    AutoTokenizer.from_pretrained({model}).save_pretrained("converted")"""
_DEQUANTISE = """dequantise it first, and name the folder that this writes:
    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained({model}, device_map="auto")  # FP8, MXFP4: quantization_config=
    model.dequantize().save_pretrained("dequantised")  # ...FineGrainedFP8Config(dequantize=True), Mxfp4Config(...)"""


def as_arguments(source: str) -> str:
    """A source as one writes it in a call of `from_pretrained`."""
    name, revision = resolve(source)
    return f"{name!r}, revision={revision!r}" if revision else repr(name)


def tensors_of(folder: Path, source: str) -> dict[str, Stored]:
    """Where every tensor of a model folder is.

    Raises:
        UserError: Nothing there can be read, or index and shards contradict each other.
    """
    if (folder / INDEX).is_file():
        return _indexed(folder)
    files = [folder / WHOLE] if (folder / WHOLE).exists() else sorted(folder.glob("*.safetensors"))
    files = [file for file in files if file.name != ADAPTER]
    if not files:
        raise UserError(_without_safetensors(folder, source))
    return tensors_in(files)


def tensors_in(files: list[Path]) -> dict[str, Stored]:
    """Where every tensor of these files is.

    Raises:
        UserError: A file is broken, or a tensor is in two of them.
    """
    found: dict[str, Stored] = {}
    for file in files:
        tensors = read_header(file)
        if doubles := sorted(found.keys() & tensors.keys()):
            raise UserError(
                f"a tensor is in one file of a checkpoint; {_some(doubles)} in {found[doubles[0]].file} and in "
                f"{file}: remove the file that does not belong there"
            )
        found |= tensors
    return {name: tensor for name, tensor in found.items() if not name.endswith(_COMPUTED)}


def refuse_quantised(tensors: Mapping[str, Stored], config: Mapping[str, Any], source: str) -> None:
    """A merge needs weights, not codes of weights.

    Raises:
        UserError: The checkpoint is quantised.
    """
    settings = config.get("quantization_config")
    if isinstance(settings, dict) and settings:
        method = settings.get("quant_method", "of a method that it does not name")
        raise UserError(
            f"{source}: a quantised checkpoint ({method}) cannot be merged; "
            + _DEQUANTISE.format(model=as_arguments(source))
        )
    for name, tensor in tensors.items():
        if tensor.spec.dtype.startswith(("F8_", "F6_", "F4", "I8")):
            raise UserError(
                f"{source}: a quantised checkpoint cannot be merged, and {name} is {tensor.spec.dtype}; "
                + _DEQUANTISE.format(model=as_arguments(source))
            )


def _indexed(folder: Path) -> dict[str, Stored]:
    path = folder / INDEX
    names = read_json(path).get("weight_map")
    if not isinstance(names, dict) or not names or not all(_is_plain(file) for file in names.values()):
        raise UserError(
            f"{path}: its weight_map names for each tensor a file beside it; this one does not; fetch it again"
        )
    files = [folder / name for name in sorted(set(names.values()))]
    if absent := [file.name for file in files if not file.exists()]:
        raise UserError(f"{path} names shards that are not there: {', '.join(absent)}; fetch them again")
    found = tensors_in(files)
    named = {name: file for name, file in names.items() if not name.endswith(_COMPUTED)}
    if lost := sorted(n for n, file in named.items() if n not in found or found[n].file.name != file):
        raise UserError(
            f"{path} names tensors that are not in their shards: {_some(lost)}; fetch index and shards again"
        )
    if extra := sorted(found.keys() - named.keys()):
        raise UserError(f"{path} does not name {_some(extra)}, which its shards hold; fetch index and shards again")
    return found


def _is_plain(file: object) -> bool:
    """Whether this is a file's name and no path, which could lead anywhere."""
    return isinstance(file, str) and Path(file).name == file and file not in ("", ".", "..")


def _without_safetensors(folder: Path, source: str) -> str:
    convert = _CONVERT.format(model=as_arguments(source))
    pickles = sorted(file.name for pattern in _PICKLES for file in folder.glob(pattern))
    if pickles:
        risk = f"a pickle ({_some(pickles)}) runs code when it is read"
        return f"{source}: weights are read from *.safetensors; {risk}; {convert}"
    others = sorted(file.name for pattern in _OTHER_FORMATS for file in folder.glob(pattern))
    if others:
        return f"{source}: weights are read from *.safetensors; it has {_some(others)}; {convert}"
    return f"{source}: weights are read from *.safetensors, and {folder} holds no weights at all; fetch them"


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
