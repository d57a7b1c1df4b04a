"""A real Chromium, driven through its DevTools protocol: opens pages, asks them, clicks, takes pictures."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
DRIVEN = ["--window-size=1600,1200", "--remote-debugging-port=0", "--remote-debugging-address=127.0.0.1"]


class Page:
    """One tab. `ask` evaluates JavaScript; `wait` asks until the answer is true."""

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._loop, self._socket, self._id = loop, socket, 0

    def open(self, url: str) -> None:
        """Goes to an address, also one that differs only behind the `#`."""
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=url)

    def ask(self, script: str) -> Any:
        """The value of an expression."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, script: str, seconds: float = 30.0) -> Any:
        """The first true value of an expression."""
        deadline = time.monotonic() + seconds
        while not (value := self.ask(f"(() => {{ try {{ return {script} }} catch (e) {{ return null }} }})()")):
            if time.monotonic() > deadline:
                raise AssertionError(f"never true: {script}\nthe page says:\n{self.text()}")
            time.sleep(0.1)
        return value

    def says(self, *words: str, seconds: float = 30.0) -> str:
        """Waits until all words are to be read on the page; returns the page's text."""
        self.wait(f"{json.dumps(words)}.every(word => document.body.innerText.includes(word))", seconds)
        return self.text()

    def text(self) -> str:
        """What is to be read."""
        return str(self.ask("document.body.innerText"))

    def picture(self, path: Path) -> None:
        """A PNG of what is in the window."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol."""
        return self._loop.run_until_complete(asyncio.wait_for(self._call(method, params), 60))

    async def _call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._id += 1
        await self._socket.send_json({"id": self._id, "method": method, "params": params})
        while True:
            answer = json.loads((await self._socket.receive()).data)
            if answer.get("id") == self._id:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result


@contextmanager
def chromium(profile: Path) -> Iterator[Page]:
    """A browser with a profile of its own, ended with the block."""
    assert CHROMIUM is not None
    profile.mkdir(parents=True, exist_ok=True)
    log = (profile / "log").open("wb")
    process = subprocess.Popen(
        [CHROMIUM, *QUIET, *DRIVEN, f"--user-data-dir={profile}", "about:blank"], stdout=log, stderr=log
    )
    loop = asyncio.new_event_loop()
    try:
        port = _port(profile / "DevToolsActivePort")
        session, socket = loop.run_until_complete(_connect(port))
        yield Page(loop, socket)
        loop.run_until_complete(session.close())
    finally:
        process.terminate()
        process.wait(20)
        log.close()
        loop.close()


def _port(file: Path) -> int:
    deadline = time.monotonic() + 60
    while not (file.is_file() and file.read_text().strip()):
        assert time.monotonic() < deadline, "Chromium did not start"
        time.sleep(0.05)
    return int(file.read_text().split()[0])


async def _connect(port: int) -> tuple[aiohttp.ClientSession, aiohttp.ClientWebSocketResponse]:
    session = aiohttp.ClientSession()
    async with session.get(f"http://127.0.0.1:{port}/json") as response:
        pages = [page for page in await response.json() if page["type"] == "page"]
    return session, await session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0)
