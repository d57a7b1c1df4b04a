"""The only place where data comes over a network: rows of a hub's dataset, and single files by URL."""

from __future__ import annotations

import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bai_sweep.evaluation.data._types import HubRows, Row
from bai_sweep.records import UserError

_TRIES = 3
_TIMEOUT = 60.0  # seconds without a byte
UNKNOWN = "unknown"  # the commit of rows from the local cache of `datasets`
_OFFLINE_HINT = "where there is no network, fetch on another machine and copy the folder"


@dataclass(frozen=True)
class Transport:
    """How data is fetched.

    Args:
        hub_rows: gives the rows of a split and the commit they are of.
        download: writes what a URL gives to a path.
    """

    hub_rows: Callable[[HubRows], tuple[list[Row], str]]
    download: Callable[[str, Path], None]


def hub_rows(source: HubRows) -> tuple[list[Row], str]:
    """Rows of a split on the Hugging Face hub, and the commit.

    Where the hub is switched off, `datasets` takes what its own cache has, of which the commit is not known.

    Raises:
        UserError: the hub does not answer, or refuses.
    """
    try:
        revision = source.revision or (None if hub_is_off() else _newest(source.repo))
        return split_rows(source, source.repo, revision), revision or UNKNOWN
    except Exception as error:  # each HTTP client has its own family of errors; all mean no data
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{source} cannot be fetched: {reason}; {_OFFLINE_HINT}") from error


def split_rows(source: HubRows, path: str, revision: str | None) -> list[Row]:
    """The rows of a split that belong to the source, from a hub id or from a folder laid out like the hub's."""
    from datasets import load_dataset

    dataset = load_dataset(path, source.config, split=source.split, revision=revision)
    if source.where:
        column, value = source.where
        dataset = dataset.select([index for index, item in enumerate(dataset[column]) if item == value])
    rows: list[Row] = dataset.to_list()
    return rows


def hub_is_off() -> bool:
    """Whether the user has switched the hub off by an environment variable."""
    names = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
    return any(os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"} for name in names)


@cache
def _newest(repo: str) -> str:
    """The newest commit, asked once a process: every file of a benchmark is of the same one."""
    from huggingface_hub import HfApi

    return str(HfApi().dataset_info(repo).sha)


def download(url: str, path: Path) -> None:
    """Writes what a URL gives to a path; asks again where the network or the server failed.

    Raises:
        UserError: there is no such file, or no answer after three tries.
    """
    for attempt in range(_TRIES):
        try:
            _stream(url, path)
            return
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            refused = isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code != 429
            if refused or attempt == _TRIES - 1:
                raise UserError(f"{url} cannot be fetched: {error}; {_OFFLINE_HINT}") from error
            time.sleep(2.0**attempt)


def _stream(url: str, path: Path) -> None:
    with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer, path.open("wb") as file:
        shutil.copyfileobj(answer, file)
        expected = answer.headers.get("Content-Length")
    if expected is not None and path.stat().st_size != int(expected):
        raise OSError(f"{path.stat().st_size} of {expected} bytes arrived")


ONLINE = Transport(hub_rows, download)
