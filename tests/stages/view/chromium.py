"""Just enough of the DevTools protocol to open a page in headless Chromium and look at it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import cv2
import numpy as np
import numpy.typing as npt

PROGRAM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
# Software rendering: there is neither a screen nor a graphics card where tests run.
FLAGS = (
    "--headless=new --no-sandbox --no-first-run --window-size=1280,800 --remote-debugging-port=0 "
    "--use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader"
).split()


_BETWEEN_SCREENSHOTS_S = 10.0


@dataclass
class Look:
    """What was seen.

    Attributes:
        screenshot: the last one, red first.
        addresses: by request, what the page asked for and was not forbidden to.
        errors: of the console.
    """

    screenshot: npt.NDArray[np.uint8]
    addresses: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


def look_at(
    address: str,
    profile: Path,
    *,
    until: Callable[[npt.NDArray[np.uint8]], bool],
    timeout_s: float,
) -> Look:
    """Open a page and take screenshots until one satisfies; the last one if none does in time."""
    return asyncio.run(_look_at(address, profile, until, timeout_s))


async def _look_at(
    address: str, profile: Path, until: Callable[[npt.NDArray[np.uint8]], bool], timeout_s: float
) -> Look:
    look = Look(np.zeros((1, 1, 3), np.uint8))
    async with _page(profile) as socket:
        await socket.send_json({"id": 1, "method": "Network.enable"})
        await socket.send_json({"id": 2, "method": "Runtime.enable"})
        await socket.send_json({"id": 3, "method": "Page.navigate", "params": {"url": address}})
        deadline, number = time.monotonic() + timeout_s, 10
        while time.monotonic() < deadline:
            number += 1
            # Software rendering is slow enough without being asked for pictures all the time.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_BETWEEN_SCREENSHOTS_S):
                    while True:
                        _note(look, await _receive(socket))
            await socket.send_json({"id": number, "method": "Page.captureScreenshot"})
            while (message := await _receive(socket)).get("id") != number:
                _note(look, message)
            if "result" not in message:  # too busy to draw one
                continue
            data = base64.b64decode(message["result"]["data"])
            decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            look.screenshot = np.ascontiguousarray(decoded[..., ::-1])
            if until(look.screenshot):
                break
    return look


def _note(look: Look, message: dict[str, Any]) -> None:
    parameters = message.get("params", {})
    if message.get("method") == "Network.requestWillBeSent":
        look.addresses[parameters["requestId"]] = parameters["request"]["url"]
    if message.get("method") == "Network.loadingFailed" and parameters.get("blockedReason"):
        look.addresses.pop(parameters["requestId"], None)
    if message.get("method") == "Runtime.consoleAPICalled" and parameters["type"] == "error":
        look.errors.append(json.dumps(parameters["args"]))


async def _receive(socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    message: dict[str, Any] = json.loads((await socket.receive(timeout=240)).data)
    return message


@contextlib.asynccontextmanager
async def _page(profile: Path) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    assert PROGRAM is not None
    process = subprocess.Popen(
        [PROGRAM, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port_file = profile / "DevToolsActivePort"
        while not port_file.is_file() or not port_file.read_text().strip():
            assert process.poll() is None
            await asyncio.sleep(0.05)
        port = port_file.read_text().split()[0]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                pages = [page for page in await answer.json() if page["type"] == "page"]
            address = pages[0]["webSocketDebuggerUrl"]
            async with session.ws_connect(address, max_msg_size=0) as socket:
                yield socket
    finally:
        process.terminate()
        process.wait()
