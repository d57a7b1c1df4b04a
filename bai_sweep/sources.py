"""Where things are: the configs and evaluators that travel with the package, and what a model's name means.

A model is named by a local folder, by `testbed://<member>` (the embedded family), or by a hub id `owner/name`
with an optional `@revision`. Nothing here imports torch or opens a connection.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bai_sweep.records import UserError

TESTBED_SCHEME = "testbed://"
TESTBED_MEMBERS = ("base", "instruct", "distilled", "reward")
_CONFIGS = ("config.json", "adapter_config.json")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_PACKAGE = Path(__file__).resolve().parent


def packaged_dir(name: str) -> Path:
    """The folder `conf` or `evaluators`: inside an installed package, or at the top of a checkout."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


def testbed_weights() -> Path:
    """The folder with the shipped testbed family."""
    return _PACKAGE / "testbed" / "weights"


def fault_of(source: str) -> str | None:
    """What is wrong with a model's name, found without reading the model; None if nothing is."""
    if source.startswith(TESTBED_SCHEME):
        member = source.removeprefix(TESTBED_SCHEME)
        known = ", ".join(TESTBED_SCHEME + m for m in TESTBED_MEMBERS)
        return None if member in TESTBED_MEMBERS else f"the testbed has {known}; got {source!r}"
    try:
        if source and (place := Path(source).expanduser()).exists():
            return _fault_of_folder(place)
    except OSError as error:
        return f"{source!r} cannot be read: {error.strerror}; give a folder that this user may open"
    if source.startswith((".", "~")) or not _HUB_ID.fullmatch(source):
        return f"no such folder: {source!r}; give a Hugging Face model folder or a hub id 'owner/name'"
    return None


def _fault_of_folder(place: Path) -> str | None:
    if not place.is_dir():
        return f"a model is a folder, {str(place)!r} is a file; give the folder it is in"
    # an adapter's folder names its base, which has the config.json
    if any((place / name).is_file() for name in _CONFIGS):
        return None
    return f"a model folder holds config.json, an adapter's adapter_config.json; {str(place)!r} has none"


@contextmanager
def reading(source: str) -> Iterator[None]:
    """Around `from_pretrained` of a source.

    Raises:
        UserError: It is not there, cannot be reached, or is broken.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        name, revision = resolve(source)
        pinned = f" (revision {revision})" if revision else ""
        raise UserError(
            f"a model is a folder or on the hub; {name!r}{pinned} could not be read: {error}; check the name, the "
            "network, and the token (HF_TOKEN) of a gated model"
        ) from error


def resolve(source: str) -> tuple[str, str | None]:
    """The name to hand to `from_pretrained`, and the revision if the source pins one."""
    if source.startswith(TESTBED_SCHEME):
        return str(testbed_weights() / source.removeprefix(TESTBED_SCHEME)), None
    if Path(source).expanduser().is_dir():
        return str(Path(source).expanduser()), None
    name, _, revision = source.partition("@")
    return name, revision or None
