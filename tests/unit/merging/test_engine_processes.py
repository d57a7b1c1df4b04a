"""Forked processes: the same bits as threads, and every way to end leaves nobody behind."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from bai_sweep.merging import _engine, _forks, _processes
from bai_sweep.merging._types import Block, Dtype, Method, TensorInfo, TensorSpec, Values
from bai_sweep.merging.geometry import Geometry
from bai_sweep.merging.methods import Linear, Slerp, Ties
from bai_sweep.merging.output import FileSink, plan_shards, written_beside
from bai_sweep.records import UserError
from tests.unit.merging.conftest import ArrayTensors, infos
from tests.unit.merging.output_helpers import left_beside

pytestmark = pytest.mark.skipif(not _forks.available(), reason="this system does not fork")

ROOT = str(Path(__file__).resolve().parents[3])
MEMBERS = ("base", "a", "b")
# of several units, of less than a block, of no element; the first has a run of Geometry's that many blocks share
SHAPES = {"embedding": (100, 300), "norm": (11,), "empty": (0, 4), "scale": (), "up": (40, 29), "bias": (3,)}
METHODS = {
    "linear": Linear(0.3, {"a": 0.7, "b": 0.3}),
    "slerp": Slerp(0.3, {"a": 0.7, "b": 0.3}),
    "ties": Ties({"a": 0.7, "b": 0.3}, 0.7, density=0.4, election="weight"),
}


@pytest.fixture(autouse=True)
def _nobody_and_nothing_is_left() -> Iterator[None]:
    before = len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert psutil.Process().children() == []
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def model(seed: int, shapes: dict[str, tuple[int, ...]] = SHAPES) -> ArrayTensors:
    generator = np.random.default_rng(seed)
    return ArrayTensors({name: generator.standard_normal(shape, np.float32) for name, shape in shapes.items()})


def merged(
    folder: Path,
    method: Method,
    *,
    processes: int = 0,
    shapes: dict[str, tuple[int, ...]] = SHAPES,
    dtype: Dtype = "BF16",
    **more: Any,
) -> bytes:
    """The bytes of the file that is written, by this many processes; by two threads where none are asked for."""
    tensors, values = infos(shapes), {name: model(seed, shapes) for seed, name in enumerate(MEMBERS)}
    layout = plan_shards({tensor.name: TensorSpec(tensor.shape, dtype) for tensor in tensors}, 10**9)
    folder.mkdir()
    with FileSink(folder, layout, dtype) as sink:
        if processes:
            _processes.run(tensors, values, method, sink, processes=processes, block=500, **more)
        else:
            _engine.run(tensors, values, method, sink, threads=2, block=700, **more)
    return (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize("name", METHODS)
def test_the_bytes_are_the_same_for_threads_and_any_number_of_processes(tmp_path: Path, name: str) -> None:
    expected = merged(tmp_path / "threads", METHODS[name])

    for processes in (1, 2, 3):
        assert merged(tmp_path / str(processes), METHODS[name], processes=processes) == expected, processes


@pytest.mark.parametrize("sample", [True, False])
def test_the_geometry_is_the_same_bit_for_bit(tmp_path: Path, sample: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_processes, "_PAUSE", 0.0)  # news at every block
    values = {name: model(seed) for seed, name in enumerate(MEMBERS)}

    def summary(processes: int) -> dict[str, Any]:
        looking = Geometry(infos(SHAPES), values, MEMBERS, sample=sample)
        merged(tmp_path / f"{processes}", METHODS["linear"], processes=processes, observer=looking)
        return looking.summary()

    expected = summary(0)
    assert expected["share"] == 1.0 if not sample else expected["share"] < 0.5
    for processes in (1, 2, 3):
        assert summary(processes) == expected, processes


def test_progress_comes_home_and_counts_every_element(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []

    merged(tmp_path / "out", METHODS["ties"], processes=3, on_progress=lambda done: told.append((os.getpid(), done)))

    assert sum(done for _, done in told) == sum(tensor.size for tensor in infos(SHAPES))
    assert {pid for pid, _ in told} == {os.getpid()}


class Busy(Method):
    """Takes its time, and does something at one tensor."""

    members = ("a",)  # type: ignore[assignment]

    def __init__(self, at: str = "", act: Any = None) -> None:
        self.at, self.act = at, act

    def combine(self, block: Block, survey: Any) -> Values:
        time.sleep(0.005)
        if block.tensor.name == self.at:
            self.act()
        values = block.room(0)
        values[:] = os.getpid()
        return values


LONG = {"bad": (4,), **{f"layer.{number}": (2000,) for number in range(1000)}}


def test_all_processes_work_and_the_parent_only_waits(tmp_path: Path) -> None:
    shapes = {f"layer.{number}": (2000,) for number in range(30)}

    data = merged(tmp_path / "out", Busy(), processes=3, shapes=shapes, dtype="F32")

    pids = {int(value) for value in np.frombuffer(data[-4 * 30 * 2000 :], np.float32)}  # which float32 holds exactly
    assert len(pids) == 3
    assert os.getpid() not in pids


class Odd(Exception):  # noqa: N818  an error like libraries have them, which pickle writes and cannot read
    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


def raising(error: BaseException) -> Any:
    def act() -> None:
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (UserError("the file ends early; fetch it again"), UserError, "^the file ends early; fetch it again"),
        (OSError(errno.EIO, "no disk", "weights"), OSError, "no disk: 'weights'"),
        (Odd("this", "that"), RuntimeError, "^Odd: this and that"),
    ],
)
def test_an_error_in_a_process_stops_all_and_is_raised_here(
    tmp_path: Path, error: BaseException, kind: type[BaseException], message: str
) -> None:
    started = time.monotonic()

    with pytest.raises(kind, match=message) as caught:
        merged(tmp_path / "out", Busy("bad", raising(error)), processes=2, shapes=LONG)

    assert time.monotonic() - started < 5  # all would take ten seconds and more
    if isinstance(caught.value, OSError):
        assert caught.value.errno == errno.EIO
    if not isinstance(caught.value, UserError):
        assert "in combine" in caught.value.__notes__[0]  # where it was raised
    else:
        assert not hasattr(caught.value, "__notes__")


def test_a_value_that_is_not_finite_is_found_in_a_process_as_in_a_thread(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"norm\[0\] .* overflows float32"):
        merged(tmp_path / "out", Linear(0.0, {"a": 3e38, "b": 3e38}), processes=2, shapes={"norm": (1,), "up": (2,)})


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_is_killed_is_an_error_that_says_so(tmp_path: Path, number: signal.Signals) -> None:
    def act() -> None:
        os.kill(os.getpid(), number)

    with pytest.raises(UserError, match=rf"one was killed by {number.name}, as happens when memory runs out"):
        merged(tmp_path / "out", Busy("bad", act), processes=2, shapes=LONG)


def test_a_process_that_ends_by_itself_is_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ended by itself with exit code 7"):
        merged(tmp_path / "out", Busy("bad", lambda: os._exit(7)), processes=2, shapes=LONG)


def test_ctrl_c_here_ends_all_before_it_is_raised(tmp_path: Path) -> None:
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    started = time.monotonic()

    with pytest.raises(KeyboardInterrupt):
        merged(tmp_path / "out", Busy(), processes=2, shapes=LONG)

    timer.join()
    assert time.monotonic() - started < 5


def test_ctrl_c_is_the_parent_s_to_answer_and_no_worker_s(tmp_path: Path) -> None:
    def act() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    shapes = {"bad": (4,), "good": (4,)}
    try:
        data = merged(tmp_path / "out", Busy("bad", act), processes=2, shapes=shapes, dtype="F32")
    except KeyboardInterrupt:  # which would end the tests
        pytest.fail("a worker was interrupted")
    workers = np.frombuffer(data[-4 * 8 :], np.float32)
    assert (workers > 0).all(), "every element was written"
    assert os.getpid() not in workers


SLOW = """
import sys
from pathlib import Path
from bai_sweep.merging.output import written_beside
from tests.unit.merging.test_engine_processes import LONG, Busy, merged

with written_beside(Path(sys.argv[1])) as partial:
    merged(partial / "in", Busy(), processes=2, shapes=LONG)
"""


def slow_merge(out: Path) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """A merge of many seconds in a process of its own that leads a group, and the processes it has forked."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, str(out)], cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while len(forked := psutil.Process(process.pid).children()) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process, forked


def test_ctrl_c_at_a_terminal_reaches_all_and_only_the_parent_answers(tmp_path: Path) -> None:
    process, forked = slow_merge(tmp_path / "out")

    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, errors = process.communicate(timeout=20)

    assert process.returncode != 0
    assert "nothing was left" in errors
    assert errors.count("Traceback") == errors.count("KeyboardInterrupt") == 1, errors
    assert psutil.wait_procs(forked, timeout=0)[1] == []
    assert left_beside(tmp_path / "out") == []


def test_when_the_parent_is_killed_the_others_end_and_the_folder_is_known_as_left_over(tmp_path: Path) -> None:
    process, forked = slow_merge(tmp_path / "out")

    process.kill()
    process.wait(timeout=20)

    assert psutil.wait_procs(forked, timeout=3)[1] == []  # they had many seconds of work left
    process.communicate()
    assert len(left_beside(tmp_path / "out")) == 1
    with written_beside(tmp_path / "out"):
        pass
    assert left_beside(tmp_path / "out") == ["out"]


def test_a_crew_does_every_task_once() -> None:
    def work(channel: _forks.Channel) -> None:
        time.sleep(1.0)  # until all are there
        channel.send(list(iter(channel.next, None)))

    with _forks.Crew(3, 30_000, work) as crew:
        found = list(crew.messages())

    assert len([numbers for numbers in found if numbers]) == 3
    assert sorted(number for numbers in found for number in numbers) == list(range(30_000))


@pytest.mark.parametrize("tasks", [0, 2])
def test_a_crew_has_no_more_workers_than_tasks(tasks: int) -> None:
    def work(channel: _forks.Channel) -> None:
        channel.send(os.getpid())

    with _forks.Crew(3, tasks, work) as crew:
        assert len(list(crew.messages())) == tasks


def test_messages_larger_than_a_pipe_arrive_whole() -> None:
    def work(channel: _forks.Channel) -> None:
        while (number := channel.next()) is not None:
            channel.send(np.full(300_000, number))

    with _forks.Crew(2, 4, work) as crew:
        found = list(crew.messages())

    assert sorted(int(values[0]) for values in found) == [0, 1, 2, 3]
    assert all(len(values) == 300_000 and (values == values[0]).all() for values in found)


def test_leaving_a_crew_early_stops_it() -> None:
    def work(channel: _forks.Channel) -> None:
        time.sleep(60)

    started = time.monotonic()
    with _forks.Crew(2, 2, work):
        pass

    assert time.monotonic() - started < 5


def test_a_message_cut_short_is_a_lost_worker() -> None:
    def work(channel: _forks.Channel) -> None:
        os.write(channel.home, (100).to_bytes(8, "little") + b"half")
        os._exit(3)

    with pytest.raises(UserError, match="exit code 3"), _forks.Crew(1, 1, work) as crew:
        list(crew.messages())


def test_a_system_without_forks_has_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = merged(tmp_path / "threads", METHODS["linear"])
    monkeypatch.delattr(os, "fork")

    assert merged(tmp_path / "out", METHODS["linear"], processes=2) == expected


def test_a_block_has_elements() -> None:
    with pytest.raises(ValueError, match="at least one element"):
        _processes.run((TensorInfo("a", (1,), "other", None),), {}, Busy(), None, processes=2, block=0)  # type: ignore[arg-type]
