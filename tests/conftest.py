"""What several test files share: a tiny random Llama family with a real tokenizer, saved as Hugging Face folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# The pure tensor functions are checked against the shapes in their signatures whenever a test calls them.
install_import_hook(["bai_sweep.merging._linear", "bai_sweep.ppo._math"], "beartype.beartype")


@pytest.fixture(scope="session")
def tiny_family(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of three untrained models of one architecture: base, instruct, distilled."""
    from tests.tiny import save_tiny_model

    root = tmp_path_factory.mktemp("family")
    return {
        name: save_tiny_model(root / name, seed=seed) for seed, name in enumerate(["base", "instruct", "distilled"])
    }
