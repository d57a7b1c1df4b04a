"""The prompts PPO trains on: read once, drawn by seeded permutations, tokenized and checked before training."""

from __future__ import annotations

import importlib
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeGuard, cast, runtime_checkable

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from bai_sweep.config import PromptsConfig
from bai_sweep.records import UserError

Conversation = list[dict[str, str]]
RESERVED = ("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric")
"""What reward functions get by these names is not the dataset's."""
_FORMATS = {".jsonl": "json", ".json": "json", ".parquet": "parquet"}


@dataclass(frozen=True)
class PromptBatch:
    """The prompts of one step.

    Args:
        prompts: Text or conversations, as the dataset has them.
        token_ids: The same as the actor reads them.
        columns: The dataset's other columns, one list each, for reward functions.
    """

    prompts: Sequence[str | Conversation]
    token_ids: Sequence[Sequence[int]]
    columns: Mapping[str, Sequence[Any]]

    def __getitem__(self, part: slice) -> PromptBatch:
        """Some of the prompts."""
        columns = {name: values[part] for name, values in self.columns.items()}
        return PromptBatch(self.prompts[part], self.token_ids[part], columns)


def read_prompts(config: PromptsConfig, *, seed: int, needed: int) -> list[dict[str, Any]]:
    """The rows of the prompt dataset: the first `count` of them, all if that is null.

    Args:
        config: Source, split, column and count.
        seed: Seed of the testbed's draw.
        needed: Prompts that the testbed makes when `count` is null.

    Raises:
        UserError: The source cannot be read, is empty, or lacks the column.
    """
    rows = _testbed(config, seed, needed) if config.source == "testbed" else _dataset(config)
    if not rows:
        raise UserError(f"a prompt dataset has rows; {config.source!r} ({config.split}) has none")
    if config.column not in rows[0]:
        have = ", ".join(map(str, rows[0]))
        raise UserError(
            f"reward.prompts.column names a column of the dataset; {config.source!r} has {have}; got {config.column!r}"
        )
    return rows


def columns_of(config: PromptsConfig) -> list[str] | None:
    """The columns that reward functions will get of the testbed or of a file, of which one row is read.

    None for a hub dataset, which is left alone, as it would be downloaded whole.

    Raises:
        UserError: As in `read_prompts`, or as in `prompt_batches` for the columns.
    """
    if config.source != "testbed" and Path(config.source).suffix not in _FORMATS:
        return None
    # `datasets` keeps what it makes of a file: training, or the next trial, does not read it again.
    row = read_prompts(config.model_copy(update={"count": 1}), seed=0, needed=1)[0]
    return _other_columns(row, config.column)


def _testbed(config: PromptsConfig, seed: int, needed: int) -> list[dict[str, Any]]:
    # By name: no stage imports another, and the testbed is a source of data like any other.
    testbed = importlib.import_module("bai_sweep.testbed")
    rows: list[dict[str, Any]] = testbed.prompt_dataset(config.count or needed, seed, config.split)
    return rows


def _dataset(config: PromptsConfig) -> list[dict[str, Any]]:
    from datasets import load_dataset

    path = Path(config.source).expanduser()
    try:
        with _no_progress_bars():
            if path.suffix in _FORMATS:
                files = {config.split: str(path)}
                data = load_dataset(_FORMATS[path.suffix], data_files=files, split=config.split)
            else:
                data = load_dataset(config.source, split=config.split)
    except Exception as error:
        # `datasets` raises a dozen kinds; each message names what was not found.
        raise UserError(
            f"reward.prompts.source is `testbed`, a .jsonl or .parquet file, or a hub dataset; {config.source!r} "
            f"({config.split}) could not be read: {error}"
        ) from error
    kept = data.select(range(min(config.count or len(data), len(data))))
    return [dict(row) for row in kept]


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """The terminal belongs to the display of the study."""
    from datasets import disable_progress_bars, enable_progress_bars, is_progress_bar_enabled

    shown = is_progress_bar_enabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            enable_progress_bars()


def draw_order(rows: int, needed: int, seed: int) -> Iterator[int]:
    """`needed` row numbers: a new permutation of all rows each epoch, so that none repeats within one."""
    rng = random.Random(f"{seed}/prompts")
    while needed > 0:
        permutation = rng.sample(range(rows), rows)[:needed]
        yield from permutation
        needed -= len(permutation)


@runtime_checkable
class Rows(Protocol):
    """The rows of a dataset, as a list or as `datasets` has them."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Mapping[str, Any]: ...


def prompt_batches(
    rows: Rows,
    tokenizer: PreTrainedTokenizerBase,
    *,
    column: str,
    steps: int,
    batch_size: int,
    num_generations: int,
    max_prompt_tokens: int,
    seed: int,
) -> list[PromptBatch]:
    """The batches of a whole training run; only the prompts that it will draw are tokenized.

    A batch holds `batch_size / num_generations` prompts, each of them `num_generations` times in a row.

    Raises:
        UserError: A prompt is too long, empty, or neither text nor a conversation; conversations without a chat
            template.
    """
    needed = steps * batch_size // num_generations
    drawn = list(draw_order(len(rows), needed, seed))
    used = {i: rows[i] for i in sorted(set(drawn))}  # once: a datasets.Dataset decodes a row each time it is asked
    for i, row in used.items():
        if not isinstance(row, Mapping):
            raise UserError(f"a row is a mapping with a `{column}`; row {i} is {row!r:.200}; drop or mend it")
    encoded = {i: _encode(row.get(column), tokenizer, max_prompt_tokens, i) for i, row in used.items()}
    others = _other_columns(used[drawn[0]], column)
    order = [i for i in drawn for _ in range(num_generations)]
    return [
        PromptBatch(
            prompts=[used[i][column] for i in chosen],
            token_ids=[encoded[i] for i in chosen],
            columns={name: [used[i].get(name) for i in chosen] for name in others},
        )
        for chosen in (order[start : start + batch_size] for start in range(0, len(order), batch_size))
    ]


def _other_columns(row: Mapping[str, Any], column: str) -> list[str]:
    """What reward functions get beside the prompts; a dataset's own completions are none of theirs, as in TRL."""
    names = [name for name in row if name not in {column, "prompt", "completion"}]
    if clashing := [name for name in names if name in RESERVED]:
        raise UserError(
            f"the trainer itself gives reward functions {', '.join(RESERVED)}; the dataset has a column "
            f"{', '.join(clashing)}; rename or remove it"
        )
    return names


def _encode(prompt: object, tokenizer: PreTrainedTokenizerBase, limit: int, row: int) -> list[int]:
    ids = encode_prompt(prompt, tokenizer, row)
    if not 0 < len(ids) <= limit:
        raise UserError(
            f"a prompt has 1 to {limit} tokens (max_prompt_tokens); prompt {row} has {len(ids)}; raise the limit or "
            "drop such rows"
        )
    return ids


def encode_prompt(prompt: object, tokenizer: PreTrainedTokenizerBase, row: int) -> list[int]:
    """Token ids of text as it is, or of a conversation under the chat template up to where the assistant speaks."""
    if isinstance(prompt, str):
        return [int(i) for i in tokenizer(prompt)["input_ids"]]
    if not is_conversation(prompt):
        raise UserError(
            f"a prompt is text or a list of messages with role and content; prompt {row} is {prompt!r:.200}"
        )
    if tokenizer.chat_template is None:
        raise UserError("conversations need a chat template; this tokenizer has none; give prompts as text")
    try:
        return chat_ids(tokenizer, prompt, add_generation_prompt=True)
    except TemplateError as error:
        raise UserError(
            f"prompt {row} is none that the tokenizer's chat template takes: {error}; mend or drop such rows"
        ) from error


def chat_ids(
    tokenizer: PreTrainedTokenizerBase, messages: Conversation, *, add_generation_prompt: bool = False
) -> list[int]:
    """A conversation as its chat template writes it, in token ids."""
    return cast(
        "list[int]",
        tokenizer.apply_chat_template(
            messages, add_generation_prompt=add_generation_prompt, tokenize=True, return_dict=False
        ),
    )


def is_conversation(prompt: object) -> TypeGuard[Conversation]:
    """Whether it is a list of messages, at least one."""
    return (
        isinstance(prompt, list)
        and bool(prompt)
        and all(isinstance(m, Mapping) and {"role", "content"} <= m.keys() for m in prompt)
    )
