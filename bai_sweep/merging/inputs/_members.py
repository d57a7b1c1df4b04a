"""Opening the models of a merge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bai_sweep.merging._json import read_json
from bai_sweep.merging._types import Member
from bai_sweep.merging.compatibility._names import head_of
from bai_sweep.merging.compatibility._tying import settings_of as language_settings_of
from bai_sweep.merging.compatibility._tying import ties
from bai_sweep.merging.inputs._adapted import Adapted
from bai_sweep.merging.inputs._adapter import LoraSettings, merge_first, read_adapter
from bai_sweep.merging.inputs._checkpoint import Checkpoint
from bai_sweep.merging.inputs._hub import folder_of, pinned
from bai_sweep.merging.inputs._layout import (
    ADAPTER,
    ADAPTER_SETTINGS,
    INDEX,
    WHOLE,
    refuse_quantised,
    tensors_of,
)
from bai_sweep.records import UserError
from bai_sweep.sources import fault_of, resolve

_SETTINGS = "config.json"
# any of these makes a folder one that a tokenizer can be loaded from
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")


@dataclass(frozen=True)
class Settings:
    """What a model says of itself without its weights.

    Args:
        source: With the commit that was read.
        folder: Where its tokenizer is: an adapter's own folder if it has a tokenizer, which then has no config.json
            and no generation_config.json, else its base's.
        config: config.json, parsed; an adapter's is its base's.
    """

    source: str
    folder: Path
    config: Mapping[str, Any]


@contextmanager
def open_members(sources: Mapping[str, str], *, base: str | None = None) -> Iterator[dict[str, Member]]:
    """Opens every model of a merge; headers are read, no weights. The files are closed on the way out.

    A model is a folder, `testbed://...`, or a hub id, whose commit is settled first and then read throughout. A LoRA
    adapter stands for its base with the adapter added; if its base is the merge's, that is used, in the commit that
    the merge has it in. Member.folder is an adapter's own folder if it has a tokenizer, else its base's.

    Args:
        sources: By the members' names; `base` may be absent.
        base: The merge's base where it is none of them (its weight is 0), for the adapters of it.

    Raises:
        UserError: A model is not there, is broken, quantised, or of a kind that is not read.
    """
    with ExitStack() as stack:
        opening = _Opening(stack, base or sources.get("base"))
        yield {name: opening.member(name, source) for name, source in sources.items()}


def settings_of(sources: Mapping[str, str]) -> dict[str, Settings]:
    """Configuration and tokenizer folder of models whose weights are not read: those of weight 0, a dry run's.

    Raises:
        UserError: A model is not there, or its settings are broken.
    """
    return {name: _settings_of(source) for name, source in sources.items()}


def _settings_of(source: str) -> Settings:
    source = pinned(source)
    folder = folder_of(source, weights=False)
    if not _is_adapter(folder, source):
        return Settings(source, folder, _config(folder))
    settings = read_adapter(folder, source)
    with _said_of(source):
        named = pinned(_base_source(settings, folder))
        base = folder_of(named, weights=False)
        _require_whole(base, named)
        config = _config(base)
    own = _has_tokenizer(folder)
    return Settings(source, folder, _ending_as(base, config)) if own else Settings(source, base, config)


@dataclass
class _Opening:
    """Members opened so far; a model that several members need is opened once.

    Args:
        stack: Closes what is opened.
        base: The merge's base as the user named it, if it has one.
        commits: Sources with their commits.
        checkpoints: By their folders.
    """

    stack: ExitStack
    base: str | None
    commits: dict[str, str] = field(default_factory=dict)
    checkpoints: dict[Path, Checkpoint] = field(default_factory=dict)

    def member(self, name: str, source: str) -> Member:
        """Opens one model."""
        source = self._pinned(source)
        folder = folder_of(source)
        if _is_adapter(folder, source):
            return self._adapter(name, source, folder)
        config = _config(folder)
        tensors = self._checkpoint(folder, source, config)
        return Member(name, source, folder, config, tensors, tensors.files)

    def _pinned(self, source: str) -> str:
        """A source with its commit, the same whenever it is asked for, as a branch may move meanwhile."""
        if source not in self.commits:
            self.commits[source] = pinned(source)
        return self.commits[source]

    def _adapter(self, name: str, source: str, folder: Path) -> Member:
        settings = read_adapter(folder, source)
        if not (folder / ADAPTER).is_file():
            raise UserError(
                f"{source}: an adapter's weights are read from {ADAPTER}, and it has none; load it with PEFT in a "
                "place where running its code does no harm, and save it with save_pretrained(safe_serialization=True)"
            )
        with _said_of(source):
            base_source, base_folder = self._base_of(settings, folder)
            config = _config(base_folder)
            base = self._without_copied_head(self._checkpoint(base_folder, base_source, config), config)
        own = self.stack.enter_context(Checkpoint.of_files([folder / ADAPTER]))
        refuse_quantised(own.stored, {}, source)
        tensors = Adapted(base, own, settings, source)
        place = folder if _has_tokenizer(folder) else base_folder
        config = tensors.config(config if place is base_folder else _ending_as(base_folder, config))
        return Member(name, source, place, config, tensors, (*base.files, *own.files))

    def _without_copied_head(self, base: Checkpoint, config: Mapping[str, Any]) -> Checkpoint:
        """A head that is stored beside a tie is no tensor of the model: what an adapter adds to it would be lost."""
        head = head_of(base.specs) if ties(config) else None
        if head is None:
            return base
        return self.stack.enter_context(Checkpoint({n: t for n, t in base.stored.items() if n != head}))

    def _base_of(self, settings: LoraSettings, folder: Path) -> tuple[str, Path]:
        """Source and folder of an adapter's base: the merge's, if that is the one, else the one it names."""
        named = _base_source(settings, folder)
        if self.base and self._is_the_merges(named, self.base):
            named = self.base
        named = self._pinned(named)
        found = folder_of(named)
        _require_whole(found, named)
        return named, found

    def _is_the_merges(self, named: str, base: str) -> bool:
        """Whether an adapter's base is the merge's: a hub id without a revision is whatever revision the merge has."""
        (name, revision), (base_name, base_revision) = resolve(named), resolve(base)
        if Path(name).is_dir() or Path(base_name).is_dir():
            return Path(name).resolve() == Path(base_name).resolve()
        if name != base_name:
            return False
        return revision in (None, "main", base_revision) or revision == resolve(self._pinned(base))[1]

    def _checkpoint(self, folder: Path, source: str, config: Mapping[str, Any]) -> Checkpoint:
        key = folder.resolve()
        if key not in self.checkpoints:
            tensors = tensors_of(folder, source)
            refuse_quantised(tensors, config, source)
            self.checkpoints[key] = self.stack.enter_context(Checkpoint(tensors))
        return self.checkpoints[key]


def _is_adapter(folder: Path, source: str) -> bool:
    if not (folder / ADAPTER_SETTINGS).is_file():
        return False
    if whole := [name for name in (WHOLE, INDEX) if (folder / name).is_file()]:
        raise UserError(
            f"{source}: a folder holds an adapter or a whole model; it has {ADAPTER_SETTINGS} and {whole[0]}: "
            "move one of them to a folder of its own"
        )
    return True


def _require_whole(base: Path, source: str) -> None:
    if _is_adapter(base, source):
        raise UserError(f"an adapter stands on a whole model, and {source} is an adapter; {merge_first(source)}")


def _config(folder: Path) -> dict[str, Any]:
    return read_json(folder / _SETTINGS)


def _ending_as(base: Path, config: dict[str, Any]) -> dict[str, Any]:
    """An adapted model ends a response where its base does; the adapter's folder has no file that would say so."""
    path = base / "generation_config.json"
    stored = _listed(read_json(path).get("eos_token_id")) if path.is_file() else []
    known = _listed(language_settings_of(config).get("eos_token_id"))
    if set(stored) <= set(known):
        return config
    return {**config, "eos_token_id": sorted({*known, *stored})}


def _listed(ends: Any) -> list[int]:
    if ends is None:
        return []
    return ends if isinstance(ends, list) else [ends]


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _TOKENIZER)


@contextmanager
def _said_of(adapter: str) -> Iterator[None]:
    """Says of a fault of a base whose adapter it was opened for."""
    try:
        yield
    except UserError as error:
        raise UserError(
            f"the base of the adapter {adapter}: {error}\n(if the base is elsewhere, write its folder into "
            f"base_model_name_or_path in {ADAPTER_SETTINGS})"
        ) from error


def _base_source(settings: LoraSettings, folder: Path) -> str:
    """The base that an adapter names, as a source: a folder, also one relative to the adapter's, or a hub id."""
    named = settings.base_model_name_or_path
    if Path(named).expanduser().is_dir():
        return named
    if (folder / named).is_dir():
        return str(folder / named)
    source = f"{named}@{settings.revision}" if settings.revision else named
    if fault := fault_of(source):
        raise UserError(fault)
    return source
