"""A folder for each test's studies."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.search.studies import Studies


@pytest.fixture
def studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Studies]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # limit_threads writes it
    root = logging.getLogger()
    before = list(root.handlers), root.level
    yield Studies(tmp_path)
    root.handlers[:], root.level = before  # Hydra's logging configuration is the process's
