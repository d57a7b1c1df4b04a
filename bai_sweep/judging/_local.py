"""A Hugging Face model on this machine as a judge's backend: requests that come together are answered as one batch."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from bai_sweep.config._judge import LocalJudge
from bai_sweep.judging._budget import Ledger, Usage
from bai_sweep.judging._records import JudgeError, Message
from bai_sweep.judging._request import Answer, Request, plain_messages
from bai_sweep.sources import resolve

if TYPE_CHECKING:
    from bai_sweep.judging._speaker import Speaker

_WEIGHTS = ("*.safetensors", "*.bin")


@final
class LocalModel:
    """Answers requests with a model that is loaded for the first of them. Thread-safe.

    There is no thread of its own: of those that ask, one waits for a moment and then answers for all that have come.

    Args:
        config: Of the judge.
        ledger: Counts tokens.
        sleep: Waits so many seconds.
    """

    def __init__(self, config: LocalJudge, ledger: Ledger, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._config, self._ledger, self._sleep = config, ledger, sleep
        self._queue: list[tuple[Request, Future[Answer]]] = []
        self._queueing, self._generating = threading.Lock(), threading.Lock()

    @cached_property
    def identity(self) -> Mapping[str, Any]:
        """Who answers: the model with a fingerprint of its files, and what shapes its answers."""
        config = self._config
        return {
            "kind": config.kind,
            "model": config.model,
            "files": fingerprint(config.model),
            "dtype": config.dtype,
            "think_end": config.think_end,
        }

    def request(self, messages: Sequence[Message], temperature: float, max_tokens: int, attempt: int) -> Request:
        """A request with the configuration's settings in place of the protocol's."""
        own = self._config.temperature
        return Request(
            plain_messages(messages),
            temperature if own is None else own,
            self._config.max_tokens or max_tokens,
            attempt,
        )

    def answer(self, request: Request) -> Answer:
        """Answers it, with others that were asked at the same time.

        Raises:
            JudgeError: The model's chat template or context window does not take it.
            UserError: The model cannot be loaded.
        """
        mine: Future[Answer] = Future()
        with self._queueing:
            self._queue.append((request, mine))
        with self._generating:
            if not mine.done():
                self._sleep(self._config.batch_wait)
                self._answer_queue()
        answer = mine.result()
        self._ledger.charge(Usage(answer.prompt_tokens, answer.completion_tokens))
        return answer

    def _answer_queue(self) -> None:
        with self._queueing:
            queue, self._queue = self._queue, []
        try:
            answers = self._speaker.answer([request for request, _ in queue])
        except BaseException as error:
            for _, future in queue:
                future.set_exception(error)
            raise
        for (_, future), answer in zip(queue, answers, strict=True):
            if isinstance(answer, JudgeError):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    @cached_property
    def _speaker(self) -> Speaker:
        from bai_sweep.judging._speaker import Speaker

        return Speaker(self._config)


def fingerprint(source: str) -> str | None:
    """Tells one state of a model's folder from another without reading its weights; None for a model of the hub.

    Small files count with what is in them, weights with name, size and time of change.
    """
    folder = Path(resolve(source)[0])
    if not folder.is_dir():
        return None
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in (".json", ".jinja")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    for path in sorted(path for pattern in _WEIGHTS for path in folder.glob(pattern)):
        status = path.stat()
        digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
