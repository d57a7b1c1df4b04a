"""A connection to an endpoint: the key out of the environment, and the openai SDK's client with it."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from bai_sweep.config._judge import OpenAIJudge
from bai_sweep.records import UserError

if TYPE_CHECKING:
    from openai import OpenAI

_CONNECT_SECONDS = 20.0


def key_of(config: OpenAIJudge) -> str | None:
    """The key out of its environment variable; None where the configuration wants none.

    Raises:
        UserError: The variable is not set, or holds what no header can.
    """
    if config.key_env is None:
        return None
    key = os.environ.get(config.key_env, "").strip()
    if not key:
        raise UserError(
            f"judge.key_env names the environment variable that holds the key, and {config.key_env} is not set; "
            f"export {config.key_env}=<key>, or set judge.key_env=null for a server that wants none"
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UserError(
            f"a key is printable ASCII without spaces, and what {config.key_env} holds is not; set it anew"
        )
    return key


def _require_sdk() -> None:
    """The openai SDK and tenacity are an extra.

    Raises:
        UserError: One is not installed.
    """
    if missing := [name for name in ("openai", "tenacity") if find_spec(name) is None]:
        raise UserError(
            f'judge=openai needs {" and ".join(missing)}, not installed here; pip install "bai-sweep[judge]"'
        )


def client_of(config: OpenAIJudge, key: str | None) -> OpenAI:
    """The SDK's client, without its own retries: those know neither budget nor rate.

    Raises:
        UserError: The SDK is not installed.
    """
    _require_sdk()
    from openai import OpenAI, Timeout

    return OpenAI(
        api_key=key or "none",  # the SDK takes an empty one for a missing one
        base_url=config.base_url,
        timeout=Timeout(config.timeout, connect=min(_CONNECT_SECONDS, config.timeout)),
        max_retries=0,
    )


def headers_of(key: str | None) -> dict[str, Any]:
    """What the SDK has to be told with each request so that it sends no key where there is none."""
    from openai import Omit

    return {} if key else {"Authorization": Omit()}
