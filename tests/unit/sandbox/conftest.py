"""The sandboxes that this host offers."""

from __future__ import annotations

import pytest

from bai_sweep.records import UserError
from bai_sweep.sandbox import Sandbox, open_sandbox


@pytest.fixture(params=["bubblewrap", "namespaces"])
def strong(request: pytest.FixtureRequest) -> Sandbox:
    """Each level that isolates; skipped where the host does not offer it."""
    try:
        return open_sandbox(request.param)
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture
def weak() -> Sandbox:
    """The level that does not isolate: what is contained elsewhere happens here."""
    return open_sandbox("process")


@pytest.fixture(params=["bubblewrap", "namespaces", "process"])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """Every level."""
    try:
        return open_sandbox(request.param)
    except UserError as error:
        pytest.skip(str(error))
