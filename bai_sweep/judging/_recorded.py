"""Replies out of a file in place of a judge: another judge's cache, or lines written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import final

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from bai_sweep.config._judge import RecordedJudge
from bai_sweep.judging._budget import Ledger
from bai_sweep.judging._patience import Patience
from bai_sweep.judging._records import JudgeError, Message, Reply, Spending
from bai_sweep.judging._request import Request, digest_of, plain_messages
from bai_sweep.records import UserError


class _Recorded(BaseModel):
    """A line: what was asked, as a digest or as messages, and what was replied."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    request: str | None = None
    messages: list[dict[str, str]] | None = None
    attempt: int = 0
    text: str
    model: str | None = None
    answered_by: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @model_validator(mode="after")
    def _asked(self) -> _Recorded:
        if self.request is None and self.messages is None:
            raise ValueError("it has neither 'messages' nor the 'request' of a cache")
        return self

    @property
    def digest(self) -> str:
        return self.request or digest_of(self.messages or [], self.attempt)


@final
class Recording:
    """A judge that replays a file. Thread-safe.

    A request is known by its messages and attempt; where a file has several replies to one, the last counts.

    Args:
        config: Of the judge.
        ledger: Counts.
        patience: Ends the asking where the file is of another run.

    Raises:
        UserError: The file is not there, is cut off, or mixes models.
    """

    def __init__(self, config: RecordedJudge, ledger: Ledger, patience: Patience) -> None:
        self.name = config.name
        self._path, self._ledger, self._patience = config.path, ledger, patience
        self._replies = read_recording(config)

    def ask(
        self, messages: Sequence[Message], *, temperature: float = 0.0, max_tokens: int = 4096, attempt: int = 0
    ) -> Reply:
        """See `Judge.ask`; temperature and length are the recording's.

        Raises:
            JudgeError: The file does not have this request.
            UserError: It has lacked too many in a row.
        """
        self._patience.check()
        request = Request(plain_messages(messages), temperature, max_tokens, attempt)
        reply = self._replies.get(request.digest)
        if reply is None:
            error = JudgeError(f"{self._path} has no reply to {request.short()}; record it with the judge it is from")
            self._patience.failed(error)
            self._ledger.count("failed")
            raise error
        self._patience.answered()
        self._ledger.count("cached")
        return reply

    def spent(self) -> Spending:
        """The totals so far: nothing but counts."""
        return self._ledger.spending()


def read_recording(config: RecordedJudge) -> dict[str, Reply]:
    """The replies of a file by the digests of their requests.

    Raises:
        UserError: It cannot be read, a line is no reply, or it has replies of several models and none is named.
    """
    path = Path(config.path).expanduser()
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UserError(
            f"judge.path is a file of recorded replies; {config.path} cannot be read ({error.strerror}); name another "
            "judge's cache, <evaluation.cache_dir>/judge/<name>.jsonl"
        ) from error
    read = [_line(config.path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    models = sorted({line.model for line in read if line.model is not None})
    if config.model is None and len(models) > 1:
        raise UserError(f"{config.path} has replies of {', '.join(models)}; name one as judge.model")
    replies = {
        line.digest: Reply(
            text=line.text,
            prompt_tokens=line.prompt_tokens,
            completion_tokens=line.completion_tokens,
            cached=True,
            model=line.answered_by or line.model or config.name,
        )
        for line in read
        if config.model is None or line.model == config.model
    }
    if not replies:
        of = f" of {config.model}; it has those of {', '.join(models) or 'no named model'}" if config.model else ""
        raise UserError(f"{config.path} has no reply{of}; name a file with recorded replies as judge.path")
    return replies


def _line(path: str, number: int, line: bytes) -> _Recorded:
    try:
        return _Recorded.model_validate_json(line)
    except ValidationError as error:
        why = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UserError(
            f"a recording holds one reply a line; line {number} of {path} is none ({why}); take the line out, or "
            "record it again"
        ) from None
