"""A real Chromium without a window, driven over the DevTools protocol."""

import asyncio
import base64
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
TIMEOUT_S = 30.0

KEY_CODES = {"Enter": 13, "Escape": 27}
"""Keys that Chromium itself acts on are known to it by these numbers."""


def chromium_path() -> str:
    """Where Chromium is; without it tests are skipped on a laptop and fail in CI."""
    for name in ("chromium", "chromium-browser", "google-chrome", "chrome"):
        if found := shutil.which(name):
            return found
    if os.environ.get("CI"):
        pytest.fail("chromium is not installed")
    pytest.skip("chromium is not installed")


class Page:
    """One tab. `problems` collects exceptions, console errors and refusals of the content security policy."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._session = ""
        self._context = ""
        self.problems: list[str] = []
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._socket:
            event = json.loads(message.data)
            if "id" in event:
                self._answers.pop(event["id"]).set_result(event)
            elif event["method"] == "Runtime.exceptionThrown":
                self.problems.append(json.dumps(event["params"]["exceptionDetails"])[:500])
            elif event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
                entry = event["params"]["entry"]
                # A page may ask for its icon when all is done and the test has stopped its server.
                if "ERR_CONNECTION_REFUSED" not in entry["text"]:
                    self.problems.append(f"{entry['text']} {entry.get('url', '')}".strip())

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        await self._socket.send_json(message)
        async with asyncio.timeout(TIMEOUT_S):
            found = await answer
        assert "error" not in found, found["error"]
        result: dict[str, Any] = found["result"]
        return result

    async def start(self) -> None:
        self._context = (await self.call("Target.createBrowserContext"))["browserContextId"]
        target = await self.call("Target.createTarget", url="about:blank", browserContextId=self._context)
        attached = await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")

    async def close(self) -> None:
        self._session = ""
        await self.call("Target.disposeBrowserContext", browserContextId=self._context)
        self._reader.cancel()

    async def size(self, width: int, height: int) -> None:
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    async def media(self, **features: str) -> None:
        """Emulate media features, such as prefers_color_scheme="dark"."""
        values = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        await self.call("Emulation.setEmulatedMedia", features=values)

    async def go(self, url: str) -> None:
        await self.call("Page.navigate", url=url)

    async def run(self, script: str) -> Any:
        """The value of a JavaScript expression; promises are waited for."""
        found = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    async def until(self, script: str, timeout_s: float = TIMEOUT_S) -> Any:
        """The first true value of an expression, looked at on every frame of the page."""
        watch = (
            "new Promise((done, late) => { const end = Date.now() + %d; const look = () => {"
            " let found; try { found = (%s); } catch (error) { found = null; }"
            " if (found) done(found); else if (Date.now() > end) late(new Error('not in time'));"
            " else setTimeout(look, 20); }; look(); })"
        )
        for _ in range(3):
            try:
                return await self.run(watch % (timeout_s * 1000, script))
            except AssertionError as error:
                # The page was replaced by the one that is being loaded; look there.
                if "navigat" not in str(error) and "destroyed" not in str(error):
                    raise AssertionError(f"never true: {script}; {self.problems}") from error
        raise AssertionError(f"the page kept being replaced: {script}")

    async def key(self, name: str, text: str = "") -> None:
        for kind in ("keyDown", "keyUp"):
            parameters: dict[str, Any] = {"type": kind, "key": name, "code": name}
            if name in KEY_CODES:
                parameters["windowsVirtualKeyCode"] = KEY_CODES[name]
            if kind == "keyDown" and text:
                parameters["text"] = text
            await self.call("Input.dispatchKeyEvent", **parameters)

    async def click(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def move(self, x: float, y: float) -> None:
        await self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    async def screenshot(self) -> bytes:
        return base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"])


@contextlib.contextmanager
def chromium() -> Iterator[str]:
    """The address of a running browser."""
    path = chromium_path()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [path, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # What it leaves behind when it is ended goes with its profile.
            env=os.environ | {"TMPDIR": profile},
        )
        try:
            yield _address(process, Path(profile) / "DevToolsActivePort")
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(process: subprocess.Popen[bytes], told: Path) -> str:
    """What the browser writes into its profile once it listens: a port and a path, a line each."""
    end = time.monotonic() + TIMEOUT_S
    while not (told.exists() and told.read_text().count("\n")):
        assert process.poll() is None, "chromium ended at once"
        assert time.monotonic() < end, "chromium does not listen"
        time.sleep(0.02)
    port, place = told.read_text().split()
    return f"ws://127.0.0.1:{port}{place}"


@contextlib.asynccontextmanager
async def tab(address: str) -> AsyncIterator[Page]:
    """An empty tab that shares neither cookies nor cache with any other."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(address, max_msg_size=64 << 20) as socket,
    ):
        page = Page(socket)
        await page.start()
        yield page
        await page.close()
