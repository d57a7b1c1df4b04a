"""A planned merge as a Hugging Face folder, whole or not at all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bai_sweep.merging import _processes
from bai_sweep.merging._engine import run
from bai_sweep.merging._types import Dtype, Member, Method, TensorSpec
from bai_sweep.merging.inputs import hashing
from bai_sweep.merging.output._beside import sync_file, written_beside
from bai_sweep.merging.output._buffers import copied, origin
from bai_sweep.merging.output._card import model_card
from bai_sweep.merging.output._manifest import MANIFEST, finished, input_rows, merge_rows, output_rows
from bai_sweep.merging.output._mergekit import mergekit_yaml
from bai_sweep.merging.output._settings import (
    copy_tokenizer,
    ends_of,
    write_config,
    write_generation_config,
    write_json,
    write_text,
)
from bai_sweep.merging.output._shards import Layout, plan_shards
from bai_sweep.merging.output._sink import FileSink
from bai_sweep.merging.output._tokenizer import add_tokens
from bai_sweep.records import MergeRecipe, UserError

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


@dataclass(frozen=True)
class Provenance:
    """What a folder says of where its merge comes from, beside how it was made.

    Args:
        rows: For the manifest.
        card: Sections for the card, Markdown.
        accept: Looks at the folder when its model is whole and its record is not yet; returns further rows. What it
            raises leaves nothing of the folder.
    """

    rows: Mapping[str, Any] = field(default_factory=dict)
    card: str = ""
    accept: Callable[[Path], Mapping[str, Any]] | None = None


def write_model(
    plan: MergePlan,
    method: Method,
    recipe: MergeRecipe,
    folder: Path,
    *,
    dtype: Dtype,
    max_shard_bytes: int,
    threads: int,
    geometry: GeometryLike | None,
    fork: bool = False,
    draw: Draw | None = None,
    on_progress: Callable[[int], None] | None = None,
    command: str | None = None,
    arithmetic: Method | None = None,
    provenance: Provenance | None = None,
) -> Path:
    """Merges into a new folder: weights, tokenizer, configuration, merge.json, README.md, mergekit.yaml.

    Args:
        plan: What is merged.
        method: How.
        recipe: The same for the record.
        folder: Must not exist; it appears when everything is in it.
        dtype: Of the weights; each is rounded once.
        max_shard_bytes: Of a file's tensors.
        threads: How many merge and hash.
        geometry: Looks on; its summary goes into merge.json.
        fork: They are processes forked from this one, which are faster: only where it has no threads and uses no GPU.
        draw: Makes geometry.png of the summary; if it fails, that is a warning and the model has no figure.
        on_progress: Gets the number of elements just finished, from any thread.
        command: What was typed, for the record.
        arithmetic: The method in another order of operations, a trial's.
        provenance: Where the merge comes from.

    Returns:
        The folder.

    Raises:
        UserError: The folder exists, there is no room for it, a model cannot be read, or a value is not finite.
    """
    members = plan.members
    layout = layout_of(plan, dtype, max_shard_bytes)
    with written_beside(folder, room_for(layout)) as partial:
        _write_settings(plan, partial, dtype)
        with FileSink(partial, layout, dtype) as sink:
            _merge(plan, arithmetic or method, sink, threads, fork=fork, observer=geometry, on_progress=on_progress)
        rows = merge_rows(plan, recipe, dtype)
        rows["geometry"] = None if geometry is None else geometry.summary()
        with _synced(partial, layout, members, threads, fork=fork) as hashes:
            _draw(draw, rows["geometry"], partial / FIGURE)
            rows["inputs"] = input_rows(members, hashes())
        _require_unchanged(members)
        source = provenance or Provenance()
        rows |= source.rows if source.accept is None else {**source.rows, **source.accept(partial)}
        write_text(partial / "mergekit.yaml", mergekit_yaml(plan, method, recipe, members, dtype))
        card = model_card(folder.name, plan, recipe, dtype=dtype, command=command, about=source.card)
        write_text(partial / "README.md", card)
        write_json(partial / MANIFEST, finished({**rows, "outputs": output_rows(partial)}, command))
    return folder


def _merge(
    plan: MergePlan,
    method: Method,
    sink: FileSink,
    workers: int,
    *,
    fork: bool,
    observer: GeometryLike | None,
    on_progress: Callable[[int], None] | None,
) -> None:
    for name in copied(plan):
        sink.write_bytes(name, origin(plan).tensors.raw(name))
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


def _require_unchanged(members: Mapping[str, Member]) -> None:
    for name, member in members.items():
        if file := member.tensors.changed():
            raise UserError(
                f"{name}: {file} changed while it was merged, so the merge is of neither state; merge again when "
                "nothing writes to it"
            )


def _write_settings(plan: MergePlan, folder: Path, dtype: Dtype) -> None:
    ends = ends_of(plan.models, plan.vocabulary)
    copy_tokenizer(plan.models[plan.vocabulary.tokenizer].folder, folder)
    if plan.vocabulary.added:
        add_tokens(folder, plan.vocabulary.added)
    write_config(plan, dtype, folder)
    write_generation_config(plan, ends, folder)


def layout_of(plan: MergePlan, dtype: Dtype, max_shard_bytes: int) -> Layout:
    """The files of the result, for a dry run too: `.size` is what will be written of tensors."""
    specs = {tensor.name: TensorSpec(tensor.shape, dtype) for tensor in plan.tensors}
    return plan_shards(specs | copied(plan), max_shard_bytes)


def room_for(layout: Layout) -> int:
    """Bytes that the disk must have free for a model folder."""
    return layout.size + _SMALL_FILES
