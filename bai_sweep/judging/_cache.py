"""Replies kept in one file, a JSON line each: several processes may add to it, and a `recorded` judge replays it.

Lines are only ever appended, each in one write under a lock. A line that a crash cut off is skipped when the file is
read and ended before the next is added, so it costs one reply and no more.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from bai_sweep.judging._request import Answer, Request
from bai_sweep.records import UserError

log = logging.getLogger(__name__)


class Line(BaseModel):
    """One reply as the file holds it.

    Args:
        key: Digest of all that the reply depends on.
        request: Digest of the conversation and its attempt, which finds the reply whoever gave it.
        attempt: Which asking it was.
        model: The one that was asked.
        temperature: That was asked for; None: none was named.
        max_tokens: Likewise.
        text: The reply.
        prompt_tokens: What it cost.
        completion_tokens: Likewise.
        answered_by: The model that answered, as it named itself.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    key: str
    request: str
    attempt: int
    model: str
    temperature: float | None
    max_tokens: int
    text: str
    prompt_tokens: int
    completion_tokens: int
    answered_by: str

    def answer(self) -> Answer:
        """The reply without how it was asked for."""
        return Answer(self.text, self.prompt_tokens, self.completion_tokens, self.answered_by)


class ReplyCache:
    """The replies of one judge. Thread-safe.

    Args:
        path: Of the file; its folder is made.

    Raises:
        UserError: It cannot be read, or not be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._answers: dict[str, Answer] = {}
        self._read = 0  # bytes of whole lines
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(self._open())
            self._refresh()
        except OSError as error:
            raise UserError(
                f"a judge's replies are kept in {path}, which cannot be used ({error.strerror}); "
                "set evaluation.cache_dir to a folder that this user may write to"
            ) from error

    def find(self, key: str) -> Answer | None:
        """The reply with this key, also one that another process has added since."""
        with self._lock:
            if key not in self._answers:
                self._refresh()
            return self._answers.get(key)

    def keep(self, key: str, request: Request, model: str, answer: Answer) -> None:
        """Adds a reply; it is on disk when this returns. A full disk is a warning: the reply itself is at hand."""
        line = Line(
            key=key,
            request=request.digest,
            attempt=request.attempt,
            model=model,
            temperature=request.temperature,
            max_tokens=request.max_tokens,
            text=answer.text,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            answered_by=answer.model,
        )
        with self._lock:
            self._answers[key] = answer
            try:
                self._append(line.model_dump_json().encode() + b"\n")
            except OSError as error:
                log.warning("a reply could not be kept in %s (%s): it will be asked for again", self.path, error)

    def _append(self, line: bytes) -> None:
        descriptor = self._open()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # the kernel gives it back however the process ends
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line
            while line:
                line = line[os.write(descriptor, line) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        return os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)

    def _refresh(self) -> None:
        """Reads what has been added since the last time."""
        size = self.path.stat().st_size if self.path.exists() else 0
        if size < self._read:  # another file in its place
            self._read = 0
        if size == self._read:
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        whole, newline, _ = new.rpartition(b"\n")
        self._read += len(whole) + len(newline)
        bad = 0
        for text in whole.split(b"\n"):
            if not text.strip():
                continue
            try:
                line = Line.model_validate_json(text)
            except ValidationError:
                bad += 1
            else:
                self._answers[line.key] = line.answer()
        if bad:
            log.warning("%s: %d of its lines are no replies (cut off by a crash?) and are passed over", self.path, bad)
