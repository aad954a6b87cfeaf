"""A headless Chromium that opens a page, and tells what it logged and asked the network for."""

import asyncio
import base64
import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SWITCHES = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-extensions", "--mute-audio",
    "--remote-debugging-port=0", "--remote-allow-origins=*",
)  # fmt: skip
START_SECONDS, STEP_SECONDS = 90, 120


def chromium() -> str | None:
    """The path of Chromium or Chrome; None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Tab:
    """A tab of the browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse):
        self.socket, self.number = socket, 0
        self.complaints: list[str] = []
        """Errors and warnings of the console, and uncaught exceptions."""
        self.requests: list[str] = []
        """The addresses that were asked for, the page's own among them."""

    async def call(self, method: str, **parameters: Any) -> Any:
        """Calls a method of the Chrome DevTools Protocol, and takes in what happens in the meantime."""
        self.number += 1
        await self.socket.send_json({"id": self.number, "method": method, "params": parameters})
        while True:
            said = json.loads((await self.socket.receive(STEP_SECONDS)).data)
            if said.get("id") == self.number:
                assert "error" not in said, (method, said["error"])
                return said["result"]
            self._notice(said)

    def _notice(self, said: dict[str, Any]) -> None:
        happened, about = said.get("method"), said.get("params", {})
        if happened == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])
        elif happened == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.complaints.append(about["entry"]["text"])
        elif happened == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning", "assert"):
            self.complaints.append(str(about["args"]))
        elif happened == "Runtime.exceptionThrown":
            self.complaints.append(str(about["exceptionDetails"]))

    async def open(self, page: Path, width: int, height: int = 900) -> None:
        """Opens a page in a window of this size, and waits until its scripts have run."""
        shape = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        await self.call("Emulation.setDeviceMetricsOverride", **shape)
        await self.call("Page.navigate", url=page.as_uri())
        until = time.monotonic() + STEP_SECONDS
        while not await self.value("location.protocol == 'file:' && document.readyState == 'complete'"):
            assert time.monotonic() < until, f"{page} is not loaded"
            await asyncio.sleep(0.05)

    async def value(self, expression: str) -> Any:
        """What a JavaScript expression gives in the page, promises awaited."""
        asked = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        found = await self.call("Runtime.evaluate", **asked)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    async def press(self, key: str) -> None:
        """Presses a key on the element that has the focus."""
        for kind in ("rawKeyDown", "keyUp"):
            await self.call("Input.dispatchKeyEvent", type=kind, key=key)

    async def point(self, x: float, y: float, *, click: bool) -> None:
        """Moves the pointer to a place in the window, and clicks there if asked to."""
        await self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for kind in ("mousePressed", "mouseReleased") if click else ():
            await self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def picture(self, file: Path, *, whole: bool = True) -> None:
        """Writes the page, or what the window shows of it, as a PNG file."""
        found = await self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(found["data"]))

    async def printed(self) -> bytes:
        """The page as a PDF on A4 paper."""
        found = await self.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, preferCSSPageSize=True)
        return base64.b64decode(found["data"])


@contextlib.asynccontextmanager
async def tab(folder: Path) -> AsyncIterator[Tab]:
    """A tab of a new browser whose profile lies in the folder; it is ended afterwards."""
    program = chromium()
    assert program
    browser = subprocess.Popen(
        [program, *SWITCHES, f"--user-data-dir={folder}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port = await _port(folder / "DevToolsActivePort")
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json") as found:
                (page,) = [each for each in await found.json() if each["type"] == "page"]
            async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                opened = Tab(socket)
                for domain in ("Page", "Runtime", "Log", "Network"):
                    await opened.call(f"{domain}.enable")
                yield opened
    finally:
        browser.terminate()
        browser.wait(30)


async def _port(file: Path) -> int:
    until = time.monotonic() + START_SECONDS
    while not (file.exists() and file.read_text().strip()):
        assert time.monotonic() < until, "the browser does not start"
        await asyncio.sleep(0.05)
    return int(file.read_text().split()[0])
