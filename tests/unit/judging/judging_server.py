"""An OpenAI-compatible endpoint for tests: real HTTP over loopback, a script for what it answers, time that only
passes when somebody sleeps."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml
from pydantic import TypeAdapter

from bai_sweep.config._judge import JudgeConfig, OpenAIJudge
from bai_sweep.judging._budget import Ledger, Terms
from bai_sweep.judging._endpoint import Endpoint
from bai_sweep.sources import packaged_dir

KEY = "sk-test-0123456789abcdef"
HELD = 30.0  # seconds that a hanging answer hangs at most, if nobody lets it go


@dataclass(frozen=True)
class Sent:
    """One answer: its status, body, headers; `cut` ends it half-way, `hang` and `drip` keep it from ending."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    hang: bool = False
    drip: bool = False

    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass(frozen=True)
class Got:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


def said(text: str, prompt: int = 10, completion: int = 5, finish: str = "stop", **more: Any) -> Sent:
    """A chat completion."""
    return Sent(
        body={
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": "judge-2024",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}],
            "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
            **more,
        }
    )


def fault(status: int, message: str = "no", headers: Mapping[str, str] | None = None, code: str | None = None) -> Sent:
    """An error in OpenAI's form."""
    return Sent(status, {"error": {"message": message, "type": "t", "code": code}}, headers or {})


class Server:
    """Answers by `script(number of the request from 0, request)`."""

    def __init__(self, script: Callable[[int, Got], Sent]) -> None:
        self.script = script
        self.got: list[Got] = []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        self.released = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = HELD

            def do_POST(self) -> None:
                outer.handle(self, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def do_GET(self) -> None:
                outer.handle(self, {})

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def handle(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        got = Got(handler.command, handler.path, {k.lower(): v for k, v in handler.headers.items()}, body)
        with self.lock:
            number = len(self.got)
            self.got.append(got)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            answer = self.script(number, got)
        finally:
            with self.lock:
                self.at_once -= 1
        if answer.hang:
            self.released.wait(HELD)
        try:
            self.send(handler, answer)
        except OSError:
            handler.close_connection = True  # the client has gone

    def send(self, handler: BaseHTTPRequestHandler, answer: Sent) -> None:
        content = answer.content()
        handler.send_response(answer.status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(content) + (10**6 if answer.drip else 0)))
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        if answer.drip:
            for _ in range(500):
                if self.released.wait(0.01):
                    break
                handler.wfile.write(b" ")
                handler.wfile.flush()
        handler.wfile.write(content[: len(content) // 2] if answer.cut else content)
        handler.close_connection |= answer.cut or answer.drip

    def close(self) -> None:
        self.released.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join(HELD)


@contextmanager
def serving(*answers: Sent, script: Callable[[int, Got], Sent] | None = None) -> Iterator[Server]:
    """A server that gives these answers in turn, the last one for ever."""
    server = Server(script or (lambda number, _: answers[min(number, len(answers) - 1)]))
    try:
        yield server
    finally:
        server.close()


class Time:
    """A clock, and a sleep that moves it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self._lock = threading.Lock()

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.slept.append(seconds)
            self.now += seconds


def judge_config(kind: str, **settings: Any) -> Any:
    """What conf/judge/<kind>.yaml says, with other settings for some keys."""
    written = yaml.safe_load((packaged_dir("conf") / "judge" / f"{kind}.yaml").read_text(encoding="utf-8"))
    assert set(settings) <= set(written)
    return TypeAdapter(JudgeConfig).validate_python({**written, **settings})


def openai_config(server: Server | None = None, **settings: Any) -> OpenAIJudge:
    """conf/judge/openai.yaml for a server of a test, which wants no key and is given up at once."""
    url = server.url if server else "http://127.0.0.1:9/v1"
    config = judge_config("openai", **{"base_url": url, "key_env": None, "timeout": 30.0, **settings})
    assert isinstance(config, OpenAIJudge)
    return config


def endpoint(config: OpenAIJudge, time: Time, ledger: Ledger | None = None) -> Endpoint:
    """A backend in a time of its own."""
    return Endpoint(config, ledger or Ledger(Terms()), clock=time.clock, sleep=time.sleep, seed=0)
