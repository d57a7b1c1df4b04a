"""One request as a judge gets it, and the digests by which its reply is found again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bai_sweep.judging._records import Message

VERSION = 1  # of the keys; a change of what is sent for the same request raises it


@dataclass(frozen=True)
class Request:
    """A conversation and how it is to be answered.

    Args:
        messages: `role` and `content` each.
        temperature: None: the judge's own, none is named.
        max_tokens: Longest answer.
        attempt: Which asking of the same conversation.
    """

    messages: tuple[dict[str, str], ...]
    temperature: float | None
    max_tokens: int
    attempt: int

    @property
    def digest(self) -> str:
        """Of what is asked, whoever answers and however."""
        return digest_of(self.messages, self.attempt)

    def key(self, judge: Mapping[str, Any]) -> str:
        """Of all that the reply depends on; `judge` says who answers: kind, model, and settings that shape answers."""
        how = {"temperature": self.temperature, "max_tokens": self.max_tokens, "attempt": self.attempt}
        return _sha256({"version": VERSION, "judge": judge, "messages": self.messages, **how})

    def short(self) -> str:
        """For messages: the digest's beginning, and that of the last message."""
        said = self.messages[-1]["content"] if self.messages else ""
        begins = " ".join(said[:200].split())[:60]
        return f"request {self.digest[:12]} (attempt {self.attempt}, its last message begins {begins!r})"


@dataclass(frozen=True)
class Answer:
    """What answers a request.

    Args:
        text: Without a thought.
        prompt_tokens: As counted by who answered, or the upper bound where it did not count.
        completion_tokens: Likewise.
        model: Who answered.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    model: str


def plain_messages(messages: Sequence[Message]) -> tuple[dict[str, str], ...]:
    """Copies that can be encoded: half of a surrogate pair, which JSON lets in, becomes a question mark."""
    return tuple({name: _encodable(text) for name, text in message.items()} for message in messages)


def digest_of(messages: Sequence[Message], attempt: int) -> str:
    """The digest of a conversation and its attempt."""
    return _sha256({"version": VERSION, "messages": plain_messages(messages), "attempt": attempt})


def without_thought(text: str, think_end: str | None, *, truncated: bool) -> str:
    """What an answer says after its thought; nothing where the token limit came before the end of it.

    A verdict that is weighed half-way through a thought is not a verdict.
    """
    if think_end is None:
        return text
    _, ended, after = text.rpartition(think_end)
    if ended:
        return after.lstrip()
    begun = think_end.startswith("</") and f"<{think_end[2:]}" in text
    return "" if truncated or begun else text


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _sha256(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
