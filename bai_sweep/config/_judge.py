"""Who judges responses: nobody, an OpenAI-compatible endpoint, a local model, or a recording."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from bai_sweep.config._values import Count, Name, NonNegative, Positive, Section, Source

_RESERVED = ("messages", "model", "temperature", "max_tokens", "max_completion_tokens", "stream", "n")


def _plain_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        raise ValueError("a base URL is http(s)://host[:port]/path; this one cannot be read") from None
    # the message names no part of the URL: what makes it wrong may be a secret
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("a base URL has no user, password, query or fragment; the key goes into key_env's variable")
    if not known:
        raise ValueError(f"a base URL is http(s)://host[:port]/path, as http://127.0.0.1:8000/v1; got {url!r}")
    return url.rstrip("/")


def _variable_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        # not shown: a key is easily put here by mistake
        raise ValueError("names the environment variable that holds the key, not the key; e.g. OPENAI_API_KEY")
    return name


def _nothing_reserved(body: dict[str, Any]) -> dict[str, Any]:
    if taken := [name for name in _RESERVED if name in body]:
        raise ValueError(f"adds what has no key of its own; {', '.join(taken)} cannot be set here")
    return body


class NoJudge(Section):
    """No judge: benchmarks that need one cannot run."""

    kind: Literal["none"]
    name: Name


class OpenAIJudge(Section):
    """A model behind `POST {base_url}/chat/completions`; conf/judge/openai.yaml explains each key."""

    kind: Literal["openai"]
    name: Name
    model: Annotated[str, Field(min_length=1)]
    base_url: Annotated[str, AfterValidator(_plain_url)]
    key_env: Annotated[str, AfterValidator(_variable_name)] | None
    check_endpoint: bool
    temperature: NonNegative | Literal["omit"] | None
    max_tokens: Count | None
    length_parameter: Literal["max_tokens", "max_completion_tokens"]
    extra_body: Annotated[dict[str, Any], AfterValidator(_nothing_reserved)]
    think_end: Annotated[str, Field(min_length=1)] | None
    timeout: Positive
    retries: Annotated[int, Field(ge=0)]
    backoff: Positive
    longest_wait: Positive
    give_up_after: Count | None
    concurrency: Count
    requests_per_minute: Positive | None
    tokens_per_minute: Positive | None
    max_tokens_total: Count | None
    max_cost: Positive | None
    prompt_price: NonNegative | None
    completion_price: NonNegative | None

    @model_validator(mode="after")
    def _cost_has_prices(self) -> OpenAIJudge:
        if (self.prompt_price is None) != (self.completion_price is None):
            raise ValueError("prompt_price and completion_price are given together, or neither is")
        if self.max_cost is not None and self.prompt_price is None:
            raise ValueError(
                f"max_cost={self.max_cost:g} cannot be kept to without prices; set prompt_price and completion_price"
            )
        return self


class LocalJudge(Section):
    """A Hugging Face causal language model on this machine; conf/judge/local.yaml explains each key."""

    kind: Literal["local"]
    name: Name
    model: Source
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")]
    dtype: Literal["float32", "bfloat16", "float16"] | None
    temperature: NonNegative | None
    max_tokens: Count | None
    batch_tokens: Count
    batch_wait: NonNegative
    think_end: Annotated[str, Field(min_length=1)] | None
    give_up_after: Count | None


class RecordedJudge(Section):
    """Replies out of a file; conf/judge/recorded.yaml explains each key."""

    kind: Literal["recorded"]
    name: Name
    path: Annotated[str, Field(min_length=1)]
    model: Annotated[str, Field(min_length=1)] | None
    give_up_after: Count | None


JudgeConfig = Annotated[NoJudge | OpenAIJudge | LocalJudge | RecordedJudge, Field(discriminator="kind")]
"""The group `judge` of conf/."""
