"""The exchange with an endpoint: what is sent, what comes back, and what each way of failing means.

The key goes into one header, and is masked in whatever the endpoint sends.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, final

from pydantic import BaseModel, Field, ValidationError

from bai_sweep.config._judge import OpenAIJudge
from bai_sweep.judging._client import client_of, headers_of, key_of
from bai_sweep.judging._request import Request
from bai_sweep.judging._retry import EndpointError, passes, retry_after
from bai_sweep.records import UserError

if TYPE_CHECKING:
    from openai import APIStatusError

MASK = "***"
LONGEST_BODY = 2**25  # bytes; an answer of this size is none
LEAST_SECRET = 8  # characters; what a local server takes for a key (EMPTY) is a word that a verdict may hold
CHECK_SECONDS = 10.0
_REFUSED = (401, 403)
_NOT_SENT = ("ConnectError", "ConnectTimeout", "PoolTimeout")  # the HTTP library's


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)


class Completion(BaseModel):
    """What of a chat completion is read; servers add much else."""

    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None
    model: str | None = None


@final
class Exchange:
    """Sends requests to one endpoint. Thread-safe.

    Args:
        config: Of the judge.
        clock: Seconds that only ever grow.

    Raises:
        UserError: No key, or no SDK.
    """

    def __init__(self, config: OpenAIJudge, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._config, self._clock = config, clock
        self._key = key_of(config)
        self._client = client_of(config, self._key)
        weakref.finalize(self, self._client.close)  # before the collector comes to its sockets, in whatever order
        self._headers = headers_of(self._key)

    def completion(self, request: Request) -> Completion:
        """One request, one answer.

        Raises:
            EndpointError: There is none.
        """
        body = self._body(request)

        def send() -> bytes:
            with self._client.chat.completions.with_streaming_response.create(**body) as response:
                return self._read(response.iter_bytes())

        text = self._masked(self._sent(send).decode("utf-8", "replace"))
        try:
            completion = Completion.model_validate_json(text)
        except ValidationError:
            pass
        else:
            said = completion.choices[0].message
            said.content = self._masked(said.content or "")  # JSON may have spelt the key in another way
            return completion
        what = f"answered with what is no chat completion: {_beginning(text)!r}"
        raise EndpointError(f"{self._where} {what}", passes=True, billed=True)

    def check(self) -> None:
        """Asks the endpoint for its models. Any answer will do, as not every server has them, but not a refusal.

        Raises:
            UserError: It cannot be reached, or refuses the key.
        """
        quick = self._client.with_options(timeout=min(CHECK_SECONDS, self._config.timeout))

        def send() -> bytes:
            return quick.models.with_raw_response.list(extra_headers=self._headers).content

        try:
            self._sent(send)
        except EndpointError as error:
            fault = error
        else:
            return
        if fault.status is None or fault.status in _REFUSED:
            raise UserError(f"{fault.text}; judge.check_endpoint=false leaves this question out")

    @property
    def _where(self) -> str:
        return f"the judge at {self._config.base_url}"

    def _body(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self._config.model, "messages": list(request.messages)}
        body[self._config.length_parameter] = request.max_tokens
        if request.temperature is not None:
            body["temperature"] = request.temperature
        return {**body, "extra_body": self._config.extra_body, "extra_headers": self._headers}

    def _read(self, chunks: Iterator[bytes]) -> bytes:
        """The body, within the timeout: the HTTP library bounds only the silence between two parts of it."""
        deadline, body = self._clock() + self._config.timeout, bytearray()
        for chunk in chunks:
            body += chunk
            if self._clock() > deadline:
                raise self._silent()
            if len(body) > LONGEST_BODY:
                raise EndpointError(f"{self._where} answered with more than {LONGEST_BODY} bytes", billed=True)
        return bytes(body)

    def _sent(self, send: Callable[[], bytes]) -> bytes:
        """What `send` returns; what it raises, as a fault that has nothing of the request on it."""
        import httpx2  # the SDK's own; what breaks while a body is read comes from there as it is
        import openai

        try:
            return send()
        except openai.APIStatusError as error:
            fault = self._refusal(error)
        except (openai.APITimeoutError, httpx2.TimeoutException) as error:
            fault = self._lost(error) if _unsent(error) else self._silent()
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            fault = self._lost(error)
        raise fault

    def _silent(self) -> EndpointError:
        return EndpointError(
            f"{self._where} gave no whole answer within judge.timeout={self._config.timeout:g} seconds",
            passes=True,
            billed=True,
        )

    def _lost(self, error: Exception) -> EndpointError:
        cause = error.__cause__ or error
        why = self._masked(f"{type(cause).__name__}: {cause}")
        if _unsent(error):
            return EndpointError(
                f"{self._where} cannot be reached ({why}); is it running, and is the URL right?", passes=True
            )
        return EndpointError(f"the connection to {self._where} was lost ({why})", passes=True, billed=True)

    def _refusal(self, error: APIStatusError) -> EndpointError:
        """What an HTTP status means, and what to do about it."""
        status, config = error.status_code, self._config
        said = f"HTTP {status}: {_beginning(self._masked(_said(error)))!r}"
        spent = status == 429 and error.code == "insufficient_quota"
        if status in _REFUSED:
            holder = f"the key in {config.key_env}" if config.key_env else "a request without a key"
            text = f"{self._where} refuses {holder} ({said}); set a key that may use {config.model!r}"
        elif status == 404:
            text = (
                f"{self._where} knows no model {config.model!r}, or no such path ({said}); set judge.model or base_url"
            )
        elif spent:
            text = f"{self._where} has no credit left for this key ({said}); add some, and what is judged is kept"
        else:
            text = f"{self._where} refuses the request ({said})"
        return EndpointError(
            text,
            passes=passes(status) and not spent,
            of_all=status in (*_REFUSED, 404) or spent,
            retry_after=retry_after(error.response.headers),
            status=status,
        )

    def _masked(self, text: str) -> str:
        return text.replace(self._key, MASK) if self._key and len(self._key) >= LEAST_SECRET else text


def _unsent(error: Exception) -> bool:
    return type(error.__cause__ or error).__name__ in _NOT_SENT


def _said(error: APIStatusError) -> str:
    """The message in an error's body, or the body."""
    said = error.body.get("message") if isinstance(error.body, dict) else None
    return said if isinstance(said, str) else error.response.text


def _beginning(text: str) -> str:
    return " ".join(text[:1000].split())[:300]
