"""A merge whose files are open: planned once, made at one alpha after another."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, final

from bai_sweep.config import LinearMerge, MergedActor, ModelConfig, SFTActor
from bai_sweep.merging._engine import run
from bai_sweep.merging._plan import MergePlan, plan_merge
from bai_sweep.merging._types import Member, Method
from bai_sweep.merging.inputs import Settings, open_members, settings_of
from bai_sweep.merging.live._sink import LiveSink, Target
from bai_sweep.merging.live._stage1 import Stage1
from bai_sweep.merging.live._way import BASE, OnTheWay, Share, share_of
from bai_sweep.merging.methods import Depth
from bai_sweep.records import UserError

log = logging.getLogger(__name__)

_PLANNED = ("*.json", "*.model", "*.txt")
"""Files beside the weights that a plan depends on."""

_FORMAT = 2
"""Of the held file; another number never takes an older version's."""


@final
class Opened:
    """The members of a merge, their plan and, from the second alpha on, their stage 1 in shared memory.

    The first merge reads every member once: to hold stage 1 for a single alpha would only cost time.
    """

    def __init__(self, model: ModelConfig, read: tuple[str, ...]) -> None:
        """Opens and plans.

        Args:
            model: All checkpoints, and how their vocabularies meet.
            read: The names of those that the method reads.

        Raises:
            UserError: A checkpoint cannot be read, or they do not fit together.
        """
        sources = {BASE: model.base, **model.sft}
        self._facts = _facts_of(model)
        self.read = read
        self._merged: Mapping[str, float] | None = None
        self._held: tuple[Mapping[str, float], Stage1] | None = None
        with ExitStack() as stack:
            opened = open_members({n: sources[n] for n in read}, base=model.base)
            self.members: Mapping[str, Member] = stack.enter_context(opened)
            others = settings_of({n: source for n, source in sources.items() if n not in read})
            found: dict[str, Member | Settings] = {**self.members, **others}
            self.plan: MergePlan = plan_merge(
                {name: found[name] for name in sources},
                tokenizer=model.tokenizer,
                vocabulary=model.vocabulary,
                missing_tokens=model.missing_tokens,
            )
            for doubt in self.plan.doubts:
                log.warning("%s", doubt)
            self._stamps = self._look()
            self._stack = stack.pop_all()

    def is_for(self, model: ModelConfig, read: tuple[str, ...]) -> bool:
        """Whether this is the merge of these members, and their files are what they were."""
        return (_facts_of(model), read) == (self._facts, self.read) and self._look() == self._stamps

    def merge(
        self, actor: MergedActor | SFTActor, method: Method, targets: Mapping[str, Target], *, threads: int
    ) -> None:
        """Makes the actor's tensors.

        Raises:
            UserError: A member cannot be read, or the merge is not finite.
        """
        method = arithmetic_of(actor, method)
        stage1 = self._stage1(method.weights, threads) if isinstance(method, OnTheWay) else None
        tensors = self.plan.tensors
        if isinstance(method, OnTheWay) and stage1 is not None:
            share = method.share
            between = [tensor for tensor in tensors if 0.0 < share_of(share, tensor) < 1.0]
            stage1.write(share, targets, between)
            done = {tensor.name for tensor in between}
            tensors = tuple(tensor for tensor in tensors if tensor.name not in done)
        run(tensors, self.plan.values, method, LiveSink(targets), threads=threads)

    def close(self) -> None:
        """Closes the files, and ends the use of the shared memory."""
        if self._held is not None:
            self._held[1].close()
            self._held = None
        self._stack.close()

    def _stage1(self, weights: Mapping[str, float], threads: int) -> Stage1 | None:
        """Held already, here or by another process, or held now if these weights were merged before."""
        if self._held is not None and self._held[0] == weights:
            return self._held[1]
        if self._held is not None:
            self._held[1].close()
            self._held = None
        again, self._merged = self._merged == weights, weights
        try:
            stage1 = Stage1.hold(
                self._name(weights), self.plan.tensors, self.plan.values, weights, threads=threads, make=again
            )
        except UserError as error:  # with an alpha of 1 for some tensors the merge may do without the faulty one
            log.info("stage 1 is not held: %s", error)
            return None
        if stage1 is not None:
            self._held = (weights, stage1)
        return stage1

    def _name(self, weights: Mapping[str, float]) -> str:
        """A digest of all that the values of stage 1 depend on."""
        maps = {
            name: None if rows is None else hashlib.sha256(rows.tobytes()).hexdigest()
            for name, rows in self.plan.vocabulary.maps.items()
        }
        facts = [
            _FORMAT,
            _boot(),
            self._stamps,
            list(self.read),
            list(weights.items()),
            [(tensor.name, tensor.shape) for tensor in self.plan.tensors],
            maps,
            self._facts,
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]

    def _look(self) -> list[Any]:
        """The files of weights, and the settings and tokenizers that the plan is made of: sizes, times, identities."""
        files = {file for member in self.members.values() for file in member.files}
        folders = {file.parent for file in files} | {model.folder for model in self.plan.models.values()}
        found = {path for folder in folders for pattern in _PLANNED for path in folder.glob(pattern)}
        return [_stamp(path) for path in sorted(files | found)]


def arithmetic_of(actor: MergedActor | SFTActor, method: Method) -> Method:
    """The order of operations in a trial: an interpolation goes from the base on the way to stage 1."""
    share = share_in(actor, method)
    if share is None or not isinstance(actor, MergedActor):
        return method
    return OnTheWay(share, {name: weight for name, weight in actor.weights.items() if weight != 0.0})


def share_in(actor: MergedActor | SFTActor, method: Method) -> Share | None:
    """The base's share where an actor is an interpolation between the base and stage 1, None where it is not."""
    if isinstance(actor, SFTActor) or BASE not in method.members or len(method.members) == 1:
        return None
    if isinstance(method, Depth):
        return method.alpha_of
    return actor.alpha if isinstance(actor.merge, LinearMerge) else None


def _facts_of(model: ModelConfig) -> list[Any]:
    """What a plan takes from the configuration; the order of the SFT models is that of the sum."""
    return [model.base, list(model.sft.items()), model.tokenizer, model.vocabulary, model.missing_tokens]


def _stamp(path: Path) -> tuple[str, ...]:
    """What changes when a file does; its time of change too, as a copy may keep its time of modification."""
    try:
        found = path.stat()
    except OSError:
        return (str(path),)
    return (str(path), *map(str, (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)))


def _boot() -> str:
    """A file on disk that was not yet written when the machine went down is never taken."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return str(os.getppid())
