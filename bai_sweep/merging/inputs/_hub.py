"""From a model's name to a folder on this machine."""

from __future__ import annotations

import re
from pathlib import Path

from bai_sweep.records import UserError
from bai_sweep.sources import reading, resolve

# no pickles and no Python: nothing that is downloaded here is ever run
_SETTINGS = ("*.json", "*.model", "*.txt", "*.jinja")
_WEIGHTS = ("*.safetensors",)
# the same weights once more, in another layout
_DOUBLES = ("*/*.safetensors", "consolidated*.safetensors")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def folder_of(source: str, *, weights: bool = True) -> Path:
    """The local folder of a model; a hub id is downloaded, without `weights` its settings and tokenizer only.

    With HF_HUB_OFFLINE the hub client takes what its cache holds and asks nobody.

    Raises:
        UserError: It is not there, or the hub cannot be reached.
    """
    name, revision = resolve(source)
    if Path(name).is_dir():
        return Path(name)
    with reading(source):
        from huggingface_hub import snapshot_download

        patterns = [*_SETTINGS, *(_WEIGHTS if weights else ())]
        try:
            folder = snapshot_download(name, revision=revision, allow_patterns=patterns, ignore_patterns=[*_DOUBLES])
        except Exception as error:
            # the client lets some errors of its HTTP library through (a proxy's), which are no OSError
            if type(error).__module__.startswith("httpx"):
                raise OSError(str(error)) from error
            raise
        return Path(folder)


def pinned(source: str) -> str:
    """The source with the commit that is read: `owner/name@<commit>`; a folder's name is left as it is.

    Raises:
        UserError: The hub does not say which commit that is.
    """
    name, revision = resolve(source)
    if Path(name).is_dir() or (revision and _COMMIT.fullmatch(revision)):
        return source
    commit = folder_of(source, weights=False).name
    if not _COMMIT.fullmatch(commit):
        raise UserError(
            f"{source}: the hub's cache names a snapshot's folder by its commit; got {commit!r}: clear the cache"
        )
    return f"{name}@{commit}"
