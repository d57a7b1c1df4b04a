"""Stage 1 in shared memory: the same actors bit for bit, and nothing left behind."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from bai_sweep.config import MergedActor
from bai_sweep.merging import initialise, release
from bai_sweep.merging.live import _process, _shared
from bai_sweep.merging.live._shared import Shared, obtain, sweep
from bai_sweep.merging.live._stage1 import Stage1
from tests.tiny import save_tiny_model, tiny_model
from tests.unit.merging.live_helpers import bai, bits, deep, model_config


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to hold stage 1 in."""
    root = tmp_path / "memory"
    root.mkdir()
    monkeypatch.setenv(_shared.SETTING, str(root))
    yield root
    release()


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def streamed(family: dict[str, Path], actor: MergedActor, dtype: str, **changes: object) -> dict[str, bytes]:
    release()
    return bits(initialise(model_config(family, dtype, **changes), actor).model.state_dict())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_held_and_streamed_merges_are_equal_bit_for_bit(
    tiny_family: dict[str, Path], memory: Path, dtype: str
) -> None:
    actors = [bai(0.1, 0.3), bai(0.3713907, 0.3), bai(0.5, 0.3), bai(0.97, 0.3)]
    actors += [deep(0.4, 0.1, 0.9, 0.3), deep(0.4, 0.0, 1.0, 0.3, embeddings=1.0, norms=0.0, mlp=0.77)]
    expected = [streamed(tiny_family, actor, dtype) for actor in actors]
    assert files(memory) == []
    initialise(model_config(tiny_family, dtype), bai(0.2, 0.3))

    found = []
    for actor in actors:
        found.append(bits(initialise(model_config(tiny_family, dtype), actor).model.state_dict()))
        assert len(files(memory)) == 1

    assert found == expected
    assert len({tuple(state.values()) for state in found}) == len(actors)


@pytest.mark.parametrize("again", [False, True])
def test_a_part_with_no_share_of_the_base_is_stage_1_exactly(
    tiny_family: dict[str, Path], tmp_path: Path, memory: Path, again: bool
) -> None:
    large = tiny_model(seed=4)
    with torch.no_grad():
        large.model.norm.weight.fill_(1e6)  # so that the way from the base would end beside stage 1
    large.save_pretrained(tmp_path / "large")
    AutoTokenizer.from_pretrained(tiny_family["base"]).save_pretrained(tmp_path / "large")
    family = {**tiny_family, "base": tmp_path / "large"}
    actor = deep(0.4, None, None, 0.3, norms=0.0)
    if again:
        initialise(model_config(family), actor)

    live = initialise(model_config(family), actor).model.state_dict()["model.norm.weight"]

    instruct, distilled = (
        load_file(family[name] / "model.safetensors")["model.norm.weight"].double()
        for name in ("instruct", "distilled")
    )
    assert len(files(memory)) == int(again)
    torch.testing.assert_close(live.double(), 0.3 * instruct + 0.7 * distilled, rtol=3e-7, atol=0)


def test_a_file_that_changes_and_keeps_its_times_is_read_anew(
    tiny_family: dict[str, Path], tmp_path: Path, memory: Path
) -> None:
    family = {**tiny_family, "instruct": save_tiny_model(tmp_path / "changing", seed=5)}
    for alpha in (0.5, 0.6):
        initialise(model_config(family), bai(alpha))
    file = tmp_path / "changing" / "model.safetensors"
    before, data = file.stat(), bytearray(file.read_bytes())
    data[-400:] = bytes(400)
    with file.open("r+b") as stored:  # the same inode
        stored.write(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    found = bits(initialise(model_config(family), bai(0.5)).model.state_dict())

    assert found == streamed(family, bai(0.5), "float32")


def test_other_files_in_a_models_folder_do_not_matter(
    tiny_family: dict[str, Path], tmp_path: Path, memory: Path
) -> None:
    family = {**tiny_family, "instruct": save_tiny_model(tmp_path / "noted", seed=5)}
    (tmp_path / "noted" / "nowhere.json").symlink_to(tmp_path / "absent")
    for alpha in (0.5, 0.6):
        initialise(model_config(family), bai(alpha))
    held = files(memory)
    (tmp_path / "noted" / "notes.md").write_text("x")

    initialise(model_config(family), bai(0.7))

    assert len(held) == 1
    assert len(files(memory)) == 1


def test_an_aligned_vocabulary_is_held_as_it_is_streamed(
    tiny_family: dict[str, Path], tmp_path: Path, memory: Path
) -> None:
    family = {**tiny_family, "instruct": more_tokens(tmp_path / "instruct")}
    expected = [streamed(family, bai(alpha), "float32") for alpha in (0.25, 0.6)]
    release()
    initialise(model_config(family), bai(0.5))

    held = [bits(initialise(model_config(family), bai(alpha)).model.state_dict()) for alpha in (0.25, 0.6)]

    assert len(files(memory)) == 1
    assert held == expected


def test_the_first_merge_streams_and_a_stage_1_or_a_base_alone_is_never_held(
    tiny_family: dict[str, Path], memory: Path
) -> None:
    for alpha in (0.0, 1.0, 0.0, 1.0, 0.5):
        initialise(model_config(tiny_family), bai(alpha))
        assert files(memory) == []

    initialise(model_config(tiny_family), bai(0.25))

    assert len(files(memory)) == 1


def test_only_the_last_stage_1_is_held(tiny_family: dict[str, Path], memory: Path) -> None:
    names = []
    for instruct in (0.3, 0.4):
        for alpha in (0.5, 0.6):
            initialise(model_config(tiny_family), bai(alpha, instruct))
        names += files(memory)

    assert len(names) == 2
    assert names[0] != names[1]


def test_a_checkpoint_that_is_written_anew_is_merged_anew(
    tiny_family: dict[str, Path], tmp_path: Path, memory: Path
) -> None:
    family = {**tiny_family, "instruct": save_tiny_model(tmp_path / "changing", seed=5)}
    for alpha in (0.5, 0.6):
        initialise(model_config(family), bai(alpha))
    (before,) = files(memory)
    save_tiny_model(tmp_path / "changing", seed=6)

    found = bits(initialise(model_config(family), bai(0.5)).model.state_dict())

    assert not before.exists()
    assert found == streamed(family, bai(0.5), "float32")


def test_nothing_is_held_where_it_is_off(
    tiny_family: dict[str, Path], monkeypatch: pytest.MonkeyPatch, memory: Path
) -> None:
    monkeypatch.setenv(_shared.SETTING, "off")

    for alpha in (0.5, 0.6, 0.7):
        initialise(model_config(tiny_family), bai(alpha))

    assert files(memory) == []
    assert obtain("stage", 8, lambda descriptor: None) is None


def test_without_room_every_merge_streams(
    tiny_family: dict[str, Path], monkeypatch: pytest.MonkeyPatch, memory: Path
) -> None:
    monkeypatch.setattr(_shared, "_RESERVE", 2**62)
    for alpha in (0.5, 0.6):
        actor = initialise(model_config(tiny_family), bai(alpha))

    assert files(memory) == []
    expected = {
        n: load_file(folder / "model.safetensors")["model.norm.weight"].double() for n, folder in tiny_family.items()
    }
    merged = 0.6 * expected["base"] + 0.2 * expected["instruct"] + 0.2 * expected["distilled"]
    torch.testing.assert_close(actor.model.state_dict()["model.norm.weight"].double(), merged, rtol=0, atol=1e-7)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="a folder in memory is Linux's")
def test_a_file_in_memory_takes_a_quarter_of_what_is_free_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(_shared.SETTING, raising=False)
    monkeypatch.setattr(_shared, "_available", lambda: 4000)
    monkeypatch.setattr(_shared, "_RESERVE", 0)
    shm = Path("/dev/shm")

    assert _shared._roots()[0] == shm
    assert _shared._has_room(shm, 1000)
    assert not _shared._has_room(shm, 1001)
    assert not _shared._has_room(tmp_path / "nowhere", 1)
    monkeypatch.setattr(_shared, "_is_memory", lambda root: False)
    assert _shared._has_room(tmp_path, 1001), "a disk takes what memory would not"


def test_memory_that_runs_out_while_it_is_filled_is_given_back(memory: Path) -> None:
    def fill(descriptor: int) -> None:
        os.pwrite(descriptor, b"part", 0)
        raise OSError(28, "No space left on device")

    assert obtain("stage", 8, fill) is None
    assert list(memory.iterdir()) == []


def test_a_fault_while_it_is_filled_leaves_nothing(memory: Path) -> None:
    def fill(descriptor: int) -> None:
        raise RuntimeError("a member broke")

    with pytest.raises(RuntimeError, match="a member broke"):
        obtain("stage", 8, fill)

    assert list(memory.iterdir()) == []


def fill_with(values: list[float]) -> Callable[[int], None]:
    def fill(descriptor: int) -> None:
        os.pwrite(descriptor, np.array(values, np.float32).tobytes(), 0)

    return fill


def test_a_file_is_made_once_and_goes_with_its_last_user(memory: Path) -> None:
    made = obtain("stage", 8, fill_with([1.0, 2.0]))
    taken = obtain("stage", 8, fill_with([3.0, 4.0]))
    assert made is not None
    assert taken is not None

    assert taken.values().tolist() == [1.0, 2.0]
    assert (memory / f"bai-sweep-{os.geteuid()}").stat().st_mode & 0o777 == 0o700
    assert files(memory)[0].stat().st_mode & 0o777 == 0o600
    with pytest.raises(ValueError, match="read-only"):
        taken.values()[0] = 5.0
    made.release()
    assert len(files(memory)) == 1
    taken.release()
    taken.release()
    assert list(memory.iterdir()) == []


def test_while_one_fills_a_file_others_do_without(memory: Path) -> None:
    seen: list[Shared | None] = []

    def fill(descriptor: int) -> None:
        seen.append(obtain("stage", 8, fill_with([3.0, 4.0])))
        sweep()
        os.pwrite(descriptor, np.array([1.0, 2.0], np.float32).tobytes(), 0)

    made = obtain("stage", 8, fill)

    assert seen == [None]
    assert made is not None
    assert made.values().tolist() == [1.0, 2.0]
    made.release()


def test_a_file_of_another_size_is_not_taken(memory: Path) -> None:
    made = obtain("stage", 8, fill_with([1.0, 2.0]))
    assert made is not None

    assert obtain("stage", 12, None) is None
    made.release()


def test_a_folder_that_is_not_the_users_own_is_not_used(
    memory: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = memory / f"bai-sweep-{os.geteuid()}"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    folder.symlink_to(elsewhere)

    assert obtain("stage", 8, fill_with([1.0, 2.0])) is None
    assert "a folder of this user's" in caplog.text
    folder.unlink()
    folder.mkdir()
    folder.chmod(0o777)
    assert obtain("stage", 8, fill_with([1.0, 2.0])) is None
    assert "open to others" in caplog.text
    assert list(elsewhere.iterdir()) == list(folder.iterdir()) == []


def test_a_folder_of_another_owner_is_not_used(
    memory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    me = os.geteuid()
    monkeypatch.setattr(_shared.os, "geteuid", lambda: me + 1)

    assert obtain("stage", 8, fill_with([1.0, 2.0])) is None
    assert "another user's folder" in caplog.text


HOLDER = """
import os, sys, time
import numpy as np
from bai_sweep.merging.live._shared import obtain

def fill(descriptor):
    print("filling", flush=True)
    if sys.argv[1] == "filling":
        time.sleep(60)
    os.pwrite(descriptor, np.array([1.0, 2.0], np.float32).tobytes(), 0)

held = obtain("stage", 8, fill)
print("held", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("moment", ["filling", "held"])
def test_what_a_killed_process_leaves_is_swept_by_the_next(memory: Path, moment: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLDER), moment], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while process.stdout.readline().strip() != moment:
        pass
    sweep()
    assert len(files(memory)) == 1, "it is in use"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert len(files(memory)) == 1, "nobody was there to remove it"

    made = obtain("other", 8, fill_with([3.0, 4.0]))

    assert made is not None
    assert [path.name for path in files(memory)] == ["other"]
    made.release()
    assert list(memory.iterdir()) == []


def test_a_whole_file_of_a_killed_process_is_taken(memory: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, "held"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while process.stdout.readline().strip() != "held":
        pass
    process.kill()
    process.wait()
    process.stdout.close()

    taken = obtain("stage", 8, None)

    assert taken is not None
    assert taken.values().tolist() == [1.0, 2.0]
    taken.release()
    assert list(memory.iterdir()) == []


def test_a_stage_1_interpolates_into_a_live_model(tiny_family: dict[str, Path], memory: Path) -> None:
    with _process.opened(model_config(tiny_family), ("base", "instruct", "distilled")) as merge:
        stage1 = Stage1.hold(
            "tiny", merge.plan.tensors, merge.plan.values, {"instruct": 0.3, "distilled": 0.7}, threads=2
        )
        assert stage1 is not None
        live = tiny_model(seed=9)
        stage1.interpolate(0.3713907, live)
        stage1.close()

    tensors = {
        n: {k: v.double() for k, v in load_file(f / "model.safetensors").items()} for n, f in tiny_family.items()
    }
    for name, base in tensors["base"].items():
        sft = 0.3 * tensors["instruct"][name] + 0.7 * tensors["distilled"][name]
        expected = 0.3713907 * base + (1 - 0.3713907) * sft
        torch.testing.assert_close(live.state_dict()[name].double(), expected, rtol=0, atol=1e-7)


def test_a_faulty_model_that_a_schedule_leaves_out_does_not_stop_it(
    tiny_family: dict[str, Path], tmp_path: Path, memory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    broken = tiny_model(seed=4)
    with torch.no_grad():
        broken.model.norm.weight[3] = torch.inf
    folder = save_tiny_model(tmp_path / "broken", seed=4)
    broken.save_pretrained(folder)
    family = {**tiny_family, "instruct": folder}

    for alpha in (0.4, 0.5, 0.6):
        actor = initialise(model_config(family), deep(alpha, 0.5, 0.5, norms=1.0))

    assert "stage 1 is not held" in caplog.text
    stored = load_file(tiny_family["base"] / "model.safetensors")["model.norm.weight"]
    assert torch.equal(actor.model.state_dict()["model.norm.weight"], stored.float())


def more_tokens(folder: Path) -> Path:
    """A model whose tokenizer has two words more, one of them before the others' ends."""
    from tests.tiny import WORDS, tiny_tokenizer

    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<call>"], special_tokens=True)
    tokenizer.add_tokens(["plus"])
    save_tiny_model(folder, seed=7, vocab_size=len(WORDS) + 2)
    tokenizer.save_pretrained(folder)
    return folder
