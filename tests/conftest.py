"""What several test files share: a tiny random Llama family with a real tokenizer, saved as Hugging Face folders."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# One thread a process, also for the processes that tests start: two busy ones with two threads each stall.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Tensor functions are checked against the shapes in their signatures whenever a test calls them.
install_import_hook(["bai_sweep.generation", "bai_sweep.ppo"], "beartype.beartype")


@pytest.fixture(autouse=True)
def _levels_of_loggers() -> Iterator[None]:
    """A command that is run in the tests' process quietens ours for good: the next test may ask what was logged."""
    loggers = [logging.getLogger(name) for name in ("bai_sweep", "matplotlib")]
    before = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


@pytest.fixture(scope="session")
def tiny_family(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of three untrained models of one architecture: base, instruct, distilled."""
    from tests.tiny import save_tiny_model

    root = tmp_path_factory.mktemp("family")
    return {
        name: save_tiny_model(root / name, seed=seed) for seed, name in enumerate(["base", "instruct", "distilled"])
    }


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Finds real benchmark files that lie beside the checkout, or skips the test: no clone has them."""

    def find(name: str) -> Path:
        path = Path(__file__).resolve().parents[2] / "shared" / "data" / name
        if not path.exists():
            pytest.skip(f"the real files of {name} do not lie beside this checkout (../shared/data)")
        return path

    return find
