"""What the judge's tests share."""

from __future__ import annotations

import functools
import ssl

import pytest

_context = functools.cache(ssl.create_default_context)


@pytest.fixture(autouse=True)
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers of the tests are on this machine, whatever proxy and key it has; all of them speak plain HTTP."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)
    # reading the machine's certificates takes longer than most of these tests
    monkeypatch.setattr(ssl, "create_default_context", _context)
