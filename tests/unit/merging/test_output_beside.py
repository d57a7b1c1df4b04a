"""A folder is there whole or not at all: errors, Ctrl-C, kill -9, a full disk, two at once."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bai_sweep.merging.output import written_beside
from bai_sweep.records import UserError
from tests.unit.merging.output_helpers import left_beside, write

# merges its arguments, and at the first block of weights says so and waits to be killed
STUCK = """
import sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
import bai_sweep.merging.output._sink as sink
from tests.unit.merging.output_helpers import write
whole = sink.FileSink.write
def stuck(self, *given):
    whole(self, *given)
    print("writing", flush=True)
    time.sleep(600)
sink.FileSink.write = stuck
names = ["base", "instruct", "distilled"]
write(dict(zip(names, map(Path, sys.argv[1:4]))), Path(sys.argv[4]), threads=1)
"""


def start_stuck_merge(family: dict[str, Path], out: Path) -> subprocess.Popen[str]:
    code = STUCK.format(root=str(Path(__file__).resolve().parents[3]))
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, family.values()), str(out)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def half_written(out: Path, error: BaseException, needed: int = 0) -> None:
    """A folder whose writer fails."""
    with written_beside(out, needed) as partial:
        (partial / "half").write_text("x")
        raise error


def test_a_killed_merge_leaves_no_model_and_is_cleaned_up_by_the_next(
    tiny_family: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "merge"
    with start_stuck_merge(tiny_family, out) as process:
        (partial,) = left_beside(out)
        process.send_signal(signal.SIGKILL)
    assert not out.exists()
    assert partial.startswith("merge.partial-")

    with caplog.at_level(logging.WARNING):
        write(tiny_family, out)

    assert left_beside(out) == ["merge"]
    assert (out / "model.safetensors").is_file()
    assert f"removing {out.with_name(partial)}" in caplog.text


def test_what_a_live_merge_is_writing_is_not_touched(
    tiny_family: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "merge"
    with start_stuck_merge(tiny_family, out) as process:
        (partial,) = left_beside(out)
        with caplog.at_level(logging.WARNING):
            write(tiny_family, out)
        assert (tmp_path / partial / "model.safetensors").is_file()
        process.kill()

    assert left_beside(out) == ["merge", partial]
    assert "another process is writing" in caplog.text


def test_a_merge_that_is_interrupted_removes_its_folder(tiny_family: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "merge"
    with start_stuck_merge(tiny_family, out) as process:
        assert len(left_beside(out)) == 1
        process.send_signal(signal.SIGINT)
        assert process.wait(60) != 0

    assert left_beside(out) == []


def test_a_merge_of_a_like_name_is_not_taken_for_one_of_ours(tmp_path: Path) -> None:
    other = tmp_path / "merge-2.partial-1-aa"
    other.mkdir()
    odd = tmp_path / "m[x].partial-1-aa"
    odd.mkdir()

    for name in ("merge", "m[x]", "m*"):
        with written_beside(tmp_path / name) as partial:
            (partial / "file").write_text("x")

    assert other.is_dir()
    assert not odd.exists()


def test_an_error_removes_what_was_written_and_says_so(tmp_path: Path) -> None:
    out = tmp_path / "merge"

    with pytest.raises(UserError, match=r"this is wrong; nothing was left at .*merge$"):
        half_written(out, UserError("this is wrong"))

    assert left_beside(out) == []


def test_an_interrupt_removes_what_was_written_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = tmp_path / "merge"

    with caplog.at_level(logging.WARNING), pytest.raises(KeyboardInterrupt):
        half_written(out, KeyboardInterrupt())

    assert left_beside(out) == []
    assert f"nothing was left at {out}" in caplog.text


def test_a_folder_that_exists_is_refused_before_anything(tmp_path: Path) -> None:
    (tmp_path / "merge").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")

    for name in ("merge", "link"):
        with pytest.raises(UserError, match="nothing is overwritten"), written_beside(tmp_path / name):
            pytest.fail("it was opened")


def test_a_folder_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "merge"

    def overtaken() -> None:
        with written_beside(out) as partial:
            (partial / "file").write_text("mine")
            out.mkdir()
            (out / "file").write_text("theirs")

    with pytest.raises(UserError, match="nothing is overwritten"):
        overtaken()

    assert (out / "file").read_text() == "theirs"
    assert left_beside(out) == ["merge"]


def test_missing_parents_are_made(tmp_path: Path) -> None:
    with written_beside(tmp_path / "a" / "b" / "merge") as partial:
        (partial / "file").write_text("x")

    assert (tmp_path / "a" / "b" / "merge" / "file").read_text() == "x"
    assert [file.name for file in (tmp_path / "a" / "b" / "merge").iterdir()] == ["file"]


def test_a_file_in_the_place_of_a_parent_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")

    with (
        pytest.raises(UserError, match=r"file cannot be made: .*write elsewhere"),
        written_beside(tmp_path / "file" / "merge"),
    ):
        pytest.fail("it was opened")


def test_a_parent_that_cannot_be_written_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # the tests may run as root, who may write anywhere

    with (
        pytest.raises(UserError, match="cannot be written to: change its permissions"),
        written_beside(tmp_path / "x"),
    ):
        pytest.fail("it was opened")


def test_a_disk_without_room_is_refused_with_both_numbers_and_its_place(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    mount = next(str(folder) for folder in (tmp_path, *tmp_path.parents) if folder.is_mount())

    with pytest.raises(UserError) as caught, written_beside(tmp_path / "new" / "merge", needed=free * 10):
        pytest.fail("it was opened")

    assert f"needs {free * 10:,} bytes" in str(caught.value)
    assert f"file system at {mount} has " in str(caught.value)
    assert not list(tmp_path.rglob("*.partial-*"))


def test_a_name_that_no_file_may_have_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be made: File name too long; write elsewhere"):
        half_written(tmp_path / ("x" * 300), AssertionError("the block ran"))

    assert not list(tmp_path.iterdir())


def test_a_quota_that_is_used_up_is_no_full_disk(tmp_path: Path) -> None:
    out = tmp_path / "merge"

    with pytest.raises(UserError, match=r"quota used up while writing tokenizer.json: 77 bytes needed"):
        half_written(out, OSError(errno.EDQUOT, "Disk quota exceeded", str(out / "tokenizer.json")), needed=77)


def test_a_disk_that_fills_up_while_settings_are_written_is_said_to_be_full(tmp_path: Path) -> None:
    out = tmp_path / "merge"

    full = OSError(errno.ENOSPC, "No space left on device", str(out / "tokenizer.json"))
    with pytest.raises(UserError, match=r"disk full while writing tokenizer.json: 77 bytes needed, [\d,]+ free at /"):
        half_written(out, full, needed=77)

    assert left_beside(out) == []


def test_a_file_that_may_not_grow_ends_the_merge_cleanly(tiny_family: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "merge"
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).resolve().parents[3])!r})\n"
        "import resource\nfrom pathlib import Path\n"
        "from bai_sweep.records import UserError\n"
        "from tests.unit.merging.output_helpers import write\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000))\n"
        "names = ['base', 'instruct', 'distilled']\n"
        "try:\n    write(dict(zip(names, map(Path, sys.argv[1:4]))), Path(sys.argv[4]))\n"
        "except UserError as error:\n    print(error)\n"
    )

    run = subprocess.run(
        [sys.executable, "-c", code, *map(str, tiny_family.values()), str(out)],
        capture_output=True,
        text=True,
        check=True,
    )

    assert "no file may be so large while writing model.safetensors: " in run.stdout
    assert "raise the limit (ulimit -f)" in run.stdout
    assert f"nothing was left at {out}" in run.stdout
    assert left_beside(out) == []


def test_a_lock_that_another_holds_makes_a_writer_take_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bai_sweep.merging.output import _beside

    answers = iter(["held", "ours"])
    monkeypatch.setattr(_beside, "_lock", lambda _: next(answers))

    start = time.monotonic()
    with written_beside(tmp_path / "merge") as partial:
        (partial / "file").write_text("x")

    assert (tmp_path / "merge" / "file").is_file()
    assert time.monotonic() - start < 10
