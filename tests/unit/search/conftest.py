"""Hydra's loader of our configuration, and of configurations that a test writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import initialize_config_dir, version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig

from bai_sweep.sources import packaged_dir


@pytest.fixture(scope="session")
def loader() -> ConfigLoader:
    with initialize_config_dir(str(packaged_dir("conf")), version_base="1.3"):
        return GlobalHydra.instance().config_loader()


def multirun(folder: Path, *overrides: str) -> tuple[DictConfig, ConfigLoader]:
    """The configuration of `-m <overrides>` from `folder`, and its loader."""
    version.setbase("1.3")
    hydra = Hydra.create_main_hydra2("app", create_config_search_path(str(folder)))
    try:
        config = hydra.compose_config(
            "config", list(overrides), run_mode=RunMode.MULTIRUN, with_log_configuration=False
        )
    finally:
        GlobalHydra.instance().clear()
    return config, hydra.config_loader
