"""Puts a user's `--config-dir` before the packaged conf/, so that a file of the same name replaces ours."""

import argparse
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from bai_sweep.sources import packaged_dir


class UserConfigFirst(SearchPathPlugin):
    """Hydra itself appends `--config-dir` at the end; a plugin is never told of it and reads the command line."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Leaves the search path of any other Hydra program alone."""
        ours = str(packaged_dir("conf"))
        if not any(element.path.removeprefix("file://") == ours for element in search_path.get_path()):
            return
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument("--config-dir", "-cd")
        parser.add_argument("--cfg", "-c")  # else argparse takes -c for the beginning of -cd
        folder = parser.parse_known_args()[0].config_dir
        if folder:
            search_path.prepend("command-line", f"file://{Path(folder).resolve()}")
