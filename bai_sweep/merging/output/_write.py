"""A planned merge as a Hugging Face folder, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bai_sweep.merging._engine import run
from bai_sweep.merging._types import Dtype, Member, Method, Observer, TensorSpec
from bai_sweep.merging.inputs import digests
from bai_sweep.merging.output._beside import refuse_existing, sync, written_beside
from bai_sweep.merging.output._buffers import Buffer, buffers
from bai_sweep.merging.output._card import model_card
from bai_sweep.merging.output._manifest import MANIFEST, finished, input_rows, merge_rows, output_rows
from bai_sweep.merging.output._mergekit import mergekit_yaml
from bai_sweep.merging.output._settings import (
    copy_tokenizer,
    ends_of,
    read_json,
    write_config,
    write_generation_config,
    write_json,
    write_text,
)
from bai_sweep.merging.output._shards import Layout, plan_shards
from bai_sweep.merging.output._sink import FileSink
from bai_sweep.merging.output._tokenizer import add_tokens
from bai_sweep.records import MergeRecipe

if TYPE_CHECKING:
    from bai_sweep.merging._plan import MergePlan

_SMALL_FILES = 1 << 20
"""Bytes kept free for what is written besides weights and tokenizer."""


class GeometryLike(Observer, Protocol):
    """An observer that says afterwards what it saw."""

    def summary(self) -> Mapping[str, Any]:
        """JSON-able."""


def write_model(
    plan: MergePlan,
    method: Method,
    recipe: MergeRecipe,
    members: Mapping[str, Member],
    folder: Path,
    *,
    tokenizer_folder: Path,
    dtype: Dtype,
    max_shard_bytes: int,
    threads: int,
    geometry: GeometryLike | None,
    on_progress: Callable[[int], None] | None = None,
    command: str | None = None,
    folders: Mapping[str, Path] | None = None,
    missing_tokens: str | None = None,
) -> Path:
    """Merges into a new folder: weights, tokenizer, configuration, merge.json, README.md, mergekit.yaml.

    Args:
        plan: What is merged.
        method: How.
        recipe: The same for the record.
        members: The models that are read.
        folder: Must not exist; it appears when everything is in it.
        tokenizer_folder: Where the tokenizer that travels is.
        dtype: Of the weights; each is rounded once.
        max_shard_bytes: Of a file's tensors.
        threads: How many merge.
        geometry: Looks on; its summary goes into merge.json.
        on_progress: Gets the number of elements just finished, from any thread.
        command: What was typed, for the record.
        folders: Of every model, as `plan_merge` had them: the end of sequence of each ends a response, also of one
            that is not read; of the members where None.
        missing_tokens: As `plan_merge` had it, for the record.

    Returns:
        The folder.

    Raises:
        UserError: The folder exists, there is no room for it, a model cannot be read, or a value is not finite.
    """
    refuse_existing(folder)
    extra = buffers(members, plan.vocabulary.tokenizer, {tensor.name for tensor in plan.tensors})
    layout = layout_of(plan, dtype, max_shard_bytes, extra)
    ends = _ends(plan, members, folders or {name: member.folder for name, member in members.items()})
    with written_beside(folder, layout.size + _SMALL_FILES) as partial:
        _write_settings(plan, members, partial, tokenizer_folder=tokenizer_folder, dtype=dtype, ends=ends)
        with FileSink(partial, layout, dtype) as sink:
            for name, (_, data) in extra.items():
                sink.write_bytes(name, data)
            run(plan.tensors, plan.values, method, sink, threads=threads, observer=geometry, on_progress=on_progress)
        rows = merge_rows(plan, recipe, members, dtype=dtype, missing_tokens=missing_tokens)
        rows["inputs"] = input_rows(members, _hashed(members, partial, threads))
        rows["geometry"] = None if geometry is None else geometry.summary()
        write_text(partial / "mergekit.yaml", mergekit_yaml(plan, method, recipe, members, dtype))
        write_text(partial / "README.md", model_card(folder.name, plan, recipe, members, dtype=dtype, command=command))
        write_json(partial / MANIFEST, finished({**rows, "outputs": output_rows(partial)}, command))
    return folder


def _write_settings(
    plan: MergePlan,
    members: Mapping[str, Member],
    folder: Path,
    *,
    tokenizer_folder: Path,
    dtype: Dtype,
    ends: list[int],
) -> None:
    copy_tokenizer(tokenizer_folder, folder)
    if plan.vocabulary.added:
        add_tokens(folder, plan.vocabulary.added)
    write_config(plan, dtype, folder)
    source = tokenizer_folder
    if not (source / "generation_config.json").is_file() and (member := members.get(plan.vocabulary.tokenizer)):
        source = member.files[0].parent  # an adapter's folder has none, its base's may
    write_generation_config(plan, ends, source, folder)


def _hashed(members: Mapping[str, Member], folder: Path, threads: int) -> dict[Path, str]:
    """The members' SHA-256; the disk writes what is in `folder` while the processor hashes."""
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(sync, folder)
        hashes = digests([file for member in members.values() for file in member.files], threads)
        written.result()
    return hashes


def _ends(plan: MergePlan, members: Mapping[str, Member], folders: Mapping[str, Path]) -> list[int]:
    configs = {
        name: members[name].config if name in members else read_json(folder / "config.json")
        for name, folder in folders.items()
    }
    return ends_of(configs, folders, plan.vocabulary)


def layout_of(
    plan: MergePlan, dtype: Dtype, max_shard_bytes: int, extra: Mapping[str, Buffer] | None = None
) -> Layout:
    """The files of the result, for a dry run too: `.size` is what will be written.

    Args:
        extra: Tensors that are copied.
    """
    specs = {tensor.name: TensorSpec(tensor.shape, dtype) for tensor in plan.tensors}
    specs |= {name: spec for name, (spec, _) in (extra or {}).items()}
    return plan_shards(specs, max_shard_bytes)
