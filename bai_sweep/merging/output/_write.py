"""A planned merge as a Hugging Face folder, whole or not at all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bai_sweep.merging import _processes
from bai_sweep.merging._engine import run
from bai_sweep.merging._types import Dtype, Member, Method, TensorSpec
from bai_sweep.merging.inputs import hashing
from bai_sweep.merging.output._beside import sync_file, written_beside
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

log = logging.getLogger(__name__)

Draw = Callable[[Mapping[str, Any], Path], object]
"""Makes a figure of a summary."""

FIGURE = "geometry.png"
_SMALL_FILES = 1 << 20
"""Bytes kept free for what is written besides weights and tokenizer."""


class GeometryLike(_processes.Gathered, Protocol):
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
    fork: bool = False,
    draw: Draw | None = None,
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
        threads: How many merge and hash.
        geometry: Looks on; its summary goes into merge.json.
        fork: They are processes forked from this one, which are faster: only where it has no threads and uses no GPU.
        draw: Makes geometry.png of the summary; if it fails, that is a warning and the model has no figure.
        on_progress: Gets the number of elements just finished, from any thread.
        command: What was typed, for the record.
        folders: Of every model, read or not, as `plan_merge` had them, as the end of each's sequences ends a response.
        missing_tokens: As `plan_merge` had it, for the record.

    Returns:
        The folder.

    Raises:
        UserError: The folder exists, there is no room for it, a model cannot be read, or a value is not finite.
    """
    extra = buffers(members, plan.vocabulary.tokenizer, {tensor.name for tensor in plan.tensors})
    layout = layout_of(plan, dtype, max_shard_bytes, extra)
    with written_beside(folder, layout.size + _SMALL_FILES) as partial:
        _write_settings(plan, members, partial, tokenizer_folder=tokenizer_folder, dtype=dtype, folders=folders)
        with FileSink(partial, layout, dtype) as sink:
            _merge(plan, method, sink, extra, threads, fork=fork, observer=geometry, on_progress=on_progress)
        rows = merge_rows(plan, recipe, members, dtype=dtype, missing_tokens=missing_tokens)
        rows["geometry"] = None if geometry is None else geometry.summary()
        with _synced(partial, layout, members, threads, fork=fork) as hashes:
            _draw(draw, rows["geometry"], partial / FIGURE)
            rows["inputs"] = input_rows(members, hashes())
        write_text(partial / "mergekit.yaml", mergekit_yaml(plan, method, recipe, members, dtype))
        write_text(partial / "README.md", model_card(folder.name, plan, recipe, members, dtype=dtype, command=command))
        write_json(partial / MANIFEST, finished({**rows, "outputs": output_rows(partial)}, command))
    return folder


def _merge(
    plan: MergePlan,
    method: Method,
    sink: FileSink,
    copied: Mapping[str, Buffer],
    workers: int,
    *,
    fork: bool,
    observer: GeometryLike | None,
    on_progress: Callable[[int], None] | None,
) -> None:
    for name, (_, data) in copied.items():
        sink.write_bytes(name, data)
    if fork:
        _processes.run(
            plan.tensors, plan.values, method, sink, processes=workers, observer=observer, on_progress=on_progress
        )
    else:
        run(plan.tensors, plan.values, method, sink, threads=workers, observer=observer, on_progress=on_progress)


def _draw(draw: Draw | None, summary: Mapping[str, Any] | None, path: Path) -> None:
    """The figure is no part of the model: one that fails is missing, which is said."""
    if draw is None or summary is None:
        return
    try:
        draw(summary, path)
    except Exception as error:  # noqa: BLE001  a library draws; whatever it raises costs no merge
        log.warning("the model is whole, its figure %s is missing: %s: %s", path.name, type(error).__name__, error)
        path.unlink(missing_ok=True)


@contextmanager
def _synced(
    folder: Path, layout: Layout, members: Mapping[str, Member], workers: int, *, fork: bool
) -> Iterator[Callable[[], dict[Path, str]]]:
    """The disk writes the weights, other cores hash the inputs, and the block does something else.

    At the end, when all is synced before the rename, little is left. What the block gets waits for the digests.
    """
    files = [file for member in members.values() for file in member.files]
    with hashing(files, workers, fork=fork) as hashes, ThreadPoolExecutor(8) as pool:
        writing = pool.map(sync_file, [folder / shard.file for shard in layout.shards])
        yield hashes
        list(writing)


def _write_settings(
    plan: MergePlan,
    members: Mapping[str, Member],
    folder: Path,
    *,
    tokenizer_folder: Path,
    dtype: Dtype,
    folders: Mapping[str, Path] | None,
) -> None:
    ends = _ends(plan, members, folders)
    copy_tokenizer(tokenizer_folder, folder)
    if plan.vocabulary.added:
        add_tokens(folder, plan.vocabulary.added)
    write_config(plan, dtype, folder)
    source = tokenizer_folder
    if not (source / "generation_config.json").is_file() and (member := members.get(plan.vocabulary.tokenizer)):
        source = member.files[0].parent  # an adapter's folder has none, its base's may
    write_generation_config(plan, ends, source, folder)


def _ends(plan: MergePlan, members: Mapping[str, Member], folders: Mapping[str, Path] | None) -> list[int]:
    folders = folders or {name: member.folder for name, member in members.items()}
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
