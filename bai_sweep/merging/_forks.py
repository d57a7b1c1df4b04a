"""Processes forked from this one, which share out numbered tasks and send back what they find.

Two threads of Python hand one lock to and fro, at a wake-up each time; two processes have one each. A fork inherits
open files and what was planned, and takes a few milliseconds. It is for a process without other threads (they would
be gone in the fork, their locks held) and without a GPU or a BLAS at work: only the caller knows.
"""

from __future__ import annotations

import fcntl
import gc
import io
import os
import pickle
import select
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NoReturn, Self, final

from bai_sweep.records import UserError

_SIZE = 8  # bytes of a message's length


def available() -> bool:
    """Whether this system can fork: Linux and some of the BSDs; macOS has the call, and libraries that break by it."""
    return hasattr(os, "fork") and hasattr(os, "memfd_create")


@dataclass(frozen=True)
class Channel:
    """A worker's side: what to do next, and the way home.

    Args:
        tasks: How many tasks there are.
        taken: An empty file whose offset, which forks share, is the number of tasks that are taken. The kernel gives
            back the lock on it when a worker is killed.
        home: Where messages are written.
    """

    tasks: int
    taken: int
    home: int

    def next(self) -> int | None:
        """The number of a task that nobody else has; None if all are taken."""
        fcntl.lockf(self.taken, fcntl.LOCK_EX)
        try:
            number = os.lseek(self.taken, 1, os.SEEK_CUR) - 1
        finally:
            fcntl.lockf(self.taken, fcntl.LOCK_UN)
        return number if number < self.tasks else None

    def send(self, message: object) -> None:
        """Sends something home.

        Raises:
            BrokenPipeError: The parent is gone.
        """
        self._write(("sent", message))

    def end(self, error: BaseException | None) -> None:
        """The last message: all is well, or the error."""
        self._write(("done", None) if error is None else ("failed", _portable(error)))

    def _write(self, message: object) -> None:
        data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
        rest = memoryview(len(data).to_bytes(_SIZE, "little") + data)
        while rest:
            rest = rest[os.write(self.home, rest) :]


@final
class Crew:
    """Processes at work; leaving the `with` block stops those that still are, and waits for them.

    A worker that finds its parent gone ends at its next message.

    Args:
        count: How many processes.
        tasks: How many tasks there are, numbered from 0.
        work: What each of them does: takes numbers from its channel until there are none.
    """

    def __init__(self, count: int, tasks: int, work: Callable[[Channel], None]) -> None:
        self._workers: dict[int, int] = {}  # process ids by the descriptors that their messages come from
        self._tasks = tasks
        self._taken = os.memfd_create("taken")
        try:
            for _ in range(min(count, tasks)):
                self._fork(work)
        except BaseException:  # a Ctrl-C while processes are started
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def messages(self) -> Iterator[Any]:
        """What the workers send, as it comes, until all of them are done.

        Raises:
            UserError: A worker was killed.
            BaseException: What a worker raised, the first of them; the others are stopped by leaving the block.
        """
        poll = select.poll()
        for descriptor in self._workers:
            poll.register(descriptor, select.POLLIN)
        while self._workers:
            for descriptor, _ in poll.poll():
                kind, content = _received(descriptor)
                if kind == "sent":
                    yield content
                    continue
                poll.unregister(descriptor)
                status = self._wait_for(descriptor)
                if kind == "failed":
                    raise content
                if kind == "lost":
                    raise _lost(status)

    def stop(self) -> None:
        """Kills the workers that are left, which have nothing to tidy up, and waits until none writes any more."""
        for pid in self._workers.values():
            with suppress(ProcessLookupError):  # it has ended, and this process was started to ignore that
                os.kill(pid, signal.SIGKILL)
        while self._workers:
            with suppress(KeyboardInterrupt):  # stopping already
                self._wait_for(next(iter(self._workers)))
        if self._taken >= 0:
            os.close(self._taken)
            self._taken = -1

    def _fork(self, work: Callable[[Channel], None]) -> None:
        reading, writing = os.pipe()
        with _held_back(), warnings.catch_warnings():
            # Python 3.12 warns of a process with threads, and counts those that OpenBLAS starts and forks safely
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
            if pid == 0:
                _serve(work, Channel(self._tasks, self._taken, writing), unused=(reading, *self._workers))
            self._workers[reading] = pid
        os.close(writing)

    def _wait_for(self, descriptor: int) -> int:
        """A worker's exit status; its descriptor is closed."""
        status = 0
        with suppress(ChildProcessError):  # a process that was started to ignore its children's ends is told of none
            _, status = os.waitpid(self._workers[descriptor], 0)
        del self._workers[descriptor]
        os.close(descriptor)
        return status


@contextmanager
def _held_back() -> Iterator[None]:
    """Signals that ask for the end wait until the block has ended, those that this process answers. A fork inherits
    this and never gets them: a terminal or a scheduler sends them to all processes, and the parent ends its workers.
    """
    asking = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    answered = {number for number in asking if signal.getsignal(number) not in (signal.SIG_DFL, signal.SIG_IGN)}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, answered)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(work: Callable[[Channel], None], channel: Channel, *, unused: tuple[int, ...]) -> NoReturn:
    """All of a worker's life; nothing of the parent's is run in it, no `finally` and no exit handler."""
    try:
        for descriptor in unused:
            os.close(descriptor)
        gc.freeze()  # a collection would write to the pages that are shared with the parent
        error = None
        try:
            work(channel)
        except BaseException as raised:  # noqa: BLE001  sent home, whatever it is
            error = raised
        with suppress(BrokenPipeError):  # the parent is gone, nobody listens
            channel.end(error)
    finally:
        os._exit(0)


def _received(descriptor: int) -> tuple[str, Any]:
    """A message; one that was cut short, or is missing, is that of a worker that is lost."""
    head = _read(descriptor, _SIZE)
    size = int.from_bytes(head, "little")
    data = _read(descriptor, size) if len(head) == _SIZE else b""
    if not data or len(data) < size:
        return "lost", None
    kind, content = pickle.loads(data)  # noqa: S301  written by our own fork
    return kind, content


def _read(descriptor: int, size: int) -> bytes:
    found = io.BytesIO()
    while (left := size - found.tell()) and (piece := os.read(descriptor, left)):
        found.write(piece)
    return found.getvalue()


def _portable(error: BaseException) -> BaseException:
    """The error as it can be sent, with its traceback as a note unless it is a message for the user."""
    if not isinstance(error, UserError):
        error.add_note("in a forked process:\n" + "".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  many an error can be written and not be read
    except Exception:  # noqa: BLE001  whatever its own methods raise
        plain = RuntimeError(f"{type(error).__name__}: {error}")
        plain.__notes__ = getattr(error, "__notes__", [])
        return plain
    return error


def _lost(status: int) -> UserError:
    code = os.waitstatus_to_exitcode(status)
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended by itself with exit code {code}"
    return UserError(
        f"a merge needs all of its processes; one {how}, as happens when memory runs out: free some, or take fewer "
        "with threads=1"
    )
