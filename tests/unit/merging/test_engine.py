"""The engine: every element once, the same for any threads and blocks, and prompt, whole errors."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bai_sweep.merging._engine import run
from bai_sweep.merging._types import Block, Method, TensorInfo, Values
from bai_sweep.merging._worker import aligned
from bai_sweep.merging.methods._linear import Linear
from bai_sweep.records import UserError
from tests.unit.merging.conftest import ArraySink, ArrayTensors, infos

SHAPES = {"embedding": (37, 11), "norm": (11,), "empty": (0, 4), "bias": (3,), "scale": (), "up": (11, 29)}


class Centred(Method):
    """Takes a tensor's mean from its values: needs a survey."""

    members = ("only",)  # type: ignore[assignment]
    surveys = 1  # type: ignore[assignment]

    def __init__(self) -> None:
        self.surveyed: list[str] = []
        self.threads: set[int] = set()

    def survey(self, tensor: TensorInfo, blocks: Iterable[Block]) -> object:
        total = 0.0
        for block in blocks:
            assert block.tensor is tensor
            total += float(block.read("only").astype(np.float64).sum())
        self.surveyed.append(tensor.name)
        return total / tensor.size

    def combine(self, block: Block, survey: Any) -> Values:
        assert block.tensor.name in self.surveyed
        self.threads.add(threading.get_ident())
        values = block.read("only", 1)
        assert values.size == block.size == block.room(0).size
        return np.subtract(values, np.float32(survey), out=block.room(0))


class Failing(Method):
    """Raises at one tensor, while the other threads are in others."""

    members = ("only",)  # type: ignore[assignment]

    def __init__(self, error: BaseException, at: str) -> None:
        self.error = error
        self.at = at
        self.combined = 0

    def combine(self, block: Block, survey: Any) -> Values:
        if block.tensor.name == self.at:
            raise self.error
        time.sleep(0.002)
        self.combined += 1
        return block.read("only")


def model(shapes: Mapping[str, tuple[int, ...]] = SHAPES, seed: int = 0) -> ArrayTensors:
    generator = np.random.default_rng(seed)
    return ArrayTensors({name: generator.standard_normal(shape, np.float32) for name, shape in shapes.items()})


def whole(tensors: ArrayTensors, name: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    into = np.empty(tensors.specs[name].size, np.float32)
    tensors.read(name, 0, into)
    return into.reshape(tensors.specs[name].shape)


@given(threads=st.integers(1, 5), block=st.integers(1, 500))
@settings(deadline=None, max_examples=40)
def test_every_element_is_surveyed_merged_written_and_reported_once(threads: int, block: int) -> None:
    tensors, only, method = infos(SHAPES), model(), Centred()
    sink, done = ArraySink(tensors), []

    run(tensors, {"only": only}, method, sink, threads=threads, block=block, on_progress=done.append)

    for name, merged in sink.result().items():
        values = whole(only, name).astype(np.float64)
        expected = values - values.mean() if values.size else values
        np.testing.assert_allclose(merged.numpy(), expected, rtol=0, atol=1e-6, err_msg=name)
    assert sum(done) == sum(tensor.size for tensor in tensors)
    assert sorted(method.surveyed) == sorted(tensor.name for tensor in tensors if tensor.size)
    assert all(size <= block for _, _, size in sink.writes)


def test_all_threads_work_and_none_is_left() -> None:
    shapes = {f"layer.{number}": (64,) for number in range(200)}
    tensors, method = infos(shapes), Centred()
    before = threading.active_count()

    class Slow(ArraySink):
        def write(self, name: str, start: int, values: Values) -> None:
            time.sleep(0.001)
            super().write(name, start, values)

    run(tensors, {"only": model(shapes)}, method, Slow(tensors), threads=3, block=8)

    assert len(method.threads) == 3
    assert threading.get_ident() in method.threads
    assert threading.active_count() == before


def test_a_thread_reads_a_tensor_while_another_surveys() -> None:
    # a barrier that only two threads at once can pass
    together = threading.Barrier(2)

    class Meeting(Centred):
        def survey(self, tensor: TensorInfo, blocks: Iterable[Block]) -> object:
            found = super().survey(tensor, blocks)
            together.wait(timeout=20)
            return found

    shapes = {"a": (100,), "b": (100,)}
    tensors, method = infos(shapes), Meeting()
    run(tensors, {"only": model(shapes)}, method, ArraySink(tensors), threads=2, block=4)

    assert sorted(method.surveyed) == ["a", "b"]


def test_the_observer_sees_every_merged_block_and_may_read_into_other_rooms() -> None:
    tensors, members = infos(SHAPES), {"base": model(seed=1), "sft": model(seed=2)}
    seen: dict[str, int] = {}
    lock = threading.Lock()

    class Watching:
        def see(self, block: Block, merged: Values) -> None:
            base, sft = block.read("base", 2), block.read("sft", 3)
            np.testing.assert_allclose(merged, 0.25 * base + 0.75 * sft, rtol=1e-5, atol=1e-6)
            with lock:
                seen[block.tensor.name] = seen.get(block.tensor.name, 0) + block.size

    sink = ArraySink(tensors)
    run(tensors, members, Linear(0.25, {"sft": 1.0}), sink, threads=2, block=10, observer=Watching())

    assert seen == {tensor.name: tensor.size for tensor in tensors if tensor.size}
    sink.result()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("error", [UserError("the file ends early"), OSError("no disk"), KeyboardInterrupt()])
def test_an_error_in_any_thread_stops_all_and_is_raised(error: BaseException, threads: int) -> None:
    shapes = {"bad": (4,), **{f"layer.{number}": (4,) for number in range(3000)}}
    tensors, method = infos(shapes), Failing(error, "bad")
    before = threading.active_count()

    with pytest.raises(type(error)) as caught:
        run(tensors, {"only": model(shapes)}, method, ArraySink(tensors), threads=threads, block=4)

    assert caught.value is error
    assert method.combined < 100
    assert threading.active_count() == before


def test_the_first_error_is_the_one_raised() -> None:
    first = UserError("first")
    entered = threading.Barrier(2)

    class Twice(Method):
        members = ("only",)  # type: ignore[assignment]

        def combine(self, block: Block, survey: Any) -> Values:
            entered.wait(timeout=20)
            if block.tensor.name == "late":
                time.sleep(1.0)
                raise OSError("second")
            raise first

    shapes = {"late": (16,), "early": (16,)}
    tensors = infos(shapes)
    with pytest.raises(UserError, match=r"^first$"):
        run(tensors, {"only": model(shapes)}, Twice(), ArraySink(tensors), threads=2, block=4)


def test_an_error_of_the_survey_the_sink_the_observer_or_the_progress_is_raised() -> None:
    tensors, members = infos(SHAPES), {"only": model()}

    class Broken(Centred):
        def survey(self, tensor: TensorInfo, blocks: Iterable[Block]) -> object:
            raise UserError("survey")

    class Full(ArraySink):
        def write(self, name: str, start: int, values: Values) -> None:
            raise OSError("full")

    class Blind:
        def see(self, block: Block, merged: Values) -> None:
            raise UserError("observer")

    def progress(done: int) -> None:
        raise UserError("progress")

    with pytest.raises(UserError, match="survey"):
        run(tensors, members, Broken(), ArraySink(tensors), threads=2)
    with pytest.raises(OSError, match="full"):
        run(tensors, members, Centred(), Full(tensors), threads=2)
    with pytest.raises(UserError, match="observer"):
        run(tensors, members, Centred(), ArraySink(tensors), threads=2, observer=Blind())
    with pytest.raises(UserError, match="progress"):
        run(tensors, members, Centred(), ArraySink(tensors), threads=2, on_progress=progress)


def test_ctrl_c_stops_every_thread() -> None:
    shapes = {f"layer.{number}": (4,) for number in range(5000)}
    tensors, method = infos(shapes), Failing(AssertionError(), "none")
    before = threading.active_count()
    sent = threading.Event()

    def interrupt(done: int) -> None:
        if method.combined > 100 and not sent.is_set():
            sent.set()
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.001)  # so that seconds of work are left

    started = time.monotonic()

    with pytest.raises(KeyboardInterrupt):
        run(tensors, {"only": model(shapes)}, method, ArraySink(tensors), threads=3, block=4, on_progress=interrupt)

    combined = method.combined
    time.sleep(0.05)
    assert method.combined == combined < 4000
    assert threading.active_count() == before
    assert time.monotonic() - started < 5


def test_a_long_survey_ends_when_another_thread_fails() -> None:
    begun = threading.Event()

    class Long(Centred):
        blocks = 0

        def survey(self, tensor: TensorInfo, blocks: Iterable[Block]) -> object:
            if tensor.name == "bad":
                assert begun.wait(timeout=20)
                raise UserError("bad")
            for _ in blocks:
                begun.set()
                self.blocks += 1
                time.sleep(0.002)
            return 0.0

    shapes = {"long": (3000,), "bad": (100,)}
    tensors, method = infos(shapes), Long()

    with pytest.raises(UserError, match="bad"):
        run(tensors, {"only": model(shapes)}, method, ArraySink(tensors), threads=2, block=1)

    assert 0 < method.blocks < 1000


def poisoned(value: float) -> ArrayTensors:
    array = np.ones((7, 5), np.float32)
    array[3, 2] = value
    return ArrayTensors({"layer.weight": array})


@pytest.mark.parametrize(("value", "shown"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
def test_a_value_that_is_not_finite_is_refused_with_its_place_and_its_member(value: float, shown: str) -> None:
    tensors = infos({"layer.weight": (7, 5)})
    members = {"base": poisoned(1.0), "good": poisoned(1.0), "bad": poisoned(value)}

    with pytest.raises(UserError) as caught:
        run(tensors, members, Linear(0.5, {"good": 0.5, "bad": 0.5}), ArraySink(tensors), threads=2, block=4)

    message = str(caught.value)
    assert f"layer.weight[3, 2] (element 17) of the merge is {shown}, as bad holds {shown} there" in message
    assert "good" not in message.replace("bad holds", "")
    assert "weight of 0" in message


def test_every_member_at_fault_is_named() -> None:
    tensors = infos({"layer.weight": (7, 5)})
    members = {"base": poisoned(np.inf), "sft": poisoned(-np.inf)}

    with pytest.raises(UserError, match="is nan, as base holds inf, sft holds -inf there"):
        run(tensors, members, Linear(0.5, {"sft": 1.0}), ArraySink(tensors), threads=1)


def test_a_merge_that_overflows_says_so() -> None:
    tensors = infos({"layer.weight": (7, 5)})
    members = {"a": poisoned(3e38), "b": poisoned(3e38)}

    with pytest.raises(UserError, match="every member is finite there: it overflows float32"):
        run(tensors, members, Linear(0.0, {"a": 1.0, "b": 1.0}), ArraySink(tensors), threads=1)


def test_a_value_that_is_not_finite_in_a_member_of_weight_zero_does_not_matter() -> None:
    tensors = infos({"layer.weight": (7, 5)})
    members = {"base": poisoned(np.nan), "good": poisoned(2.0), "bad": poisoned(np.inf)}
    sink = ArraySink(tensors)

    run(tensors, members, Linear(0.0, {"good": 1.0, "bad": 0.0}), sink, threads=2, block=8)

    assert sink.result()["layer.weight"][3, 2] == 2.0
    assert members["base"].reads == members["bad"].reads == []


def test_small_tensors_share_a_thread_s_turn_and_large_ones_are_shared_out() -> None:
    # 4 blocks of 16 elements make a turn: 64 elements
    shapes = {"large": (640,), **{f"small.{number}": (8,) for number in range(8)}}
    tensors, turns = infos(shapes), []

    class Order(ArraySink):
        def write(self, name: str, start: int, values: Values) -> None:
            turns.append((threading.get_ident(), name.partition(".")[0]))
            super().write(name, start, values)
            time.sleep(0.002)

    run(tensors, {"only": model(shapes)}, Linear(0.0, {"only": 1.0}), Order(tensors), threads=2, block=16)

    assert len({thread for thread, kind in turns if kind == "large"}) == 2
    assert len({thread for thread, kind in turns if kind == "small"}) == 1


def test_rooms_begin_at_cache_lines() -> None:
    for size in (1, 7, 64, 1000):
        room = aligned(size)
        assert room.size == size
        assert room.dtype == np.float32
        assert room.ctypes.data % 64 == 0


@pytest.mark.parametrize(("threads", "block"), [(0, 8), (1, 0)])
def test_no_thread_or_no_element_is_refused(threads: int, block: int) -> None:
    tensors = infos({"a": (1,)})
    with pytest.raises(ValueError, match="at least one thread and one element"):
        run(tensors, {}, Centred(), ArraySink(tensors), threads=threads, block=block)


def test_nothing_to_merge_is_fine() -> None:
    method, done = Centred(), []
    run((), {"only": ArrayTensors({})}, method, ArraySink(()), threads=4, on_progress=done.append)

    assert (method.surveyed, done) == ([], [])


def test_a_scalar_s_fault_has_no_index() -> None:
    tensors = infos({"scale": ()})
    members = {"only": ArrayTensors({"scale": torch.tensor(float("inf"), dtype=torch.bfloat16)})}

    with pytest.raises(UserError, match=r"scale\[\] \(element 0\)"):
        run(tensors, members, Linear(0.0, {"only": 1.0}), ArraySink(tensors), threads=1)
