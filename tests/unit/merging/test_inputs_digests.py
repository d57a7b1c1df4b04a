"""Digests of files that were changed behind the clock's back."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from bai_sweep.merging.inputs import digests


def test_a_file_changed_with_its_size_and_time_kept_is_hashed_again(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"a" * 100)
    stat = file.stat()
    digests([file], 1)

    file.write_bytes(b"b" * 100)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    assert digests([file], 1)[file] == hashlib.sha256(b"b" * 100).hexdigest()
