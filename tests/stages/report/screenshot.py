"""A page as headless Chromium shows it: any width, by day or by night."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from tests.stages.view.chromium import _page, _receive


def take_picture(
    address: str, profile: Path, *, size: tuple[int, int], is_dark: bool = False
) -> npt.NDArray[np.uint8]:
    """The top of a page, red first.

    Args:
        profile: a folder that the browser may fill.
        size: width and height, pixels.
    """
    return asyncio.run(_take(address, profile, size, is_dark))[0]


def look_at_page(
    address: str, profile: Path, *, size: tuple[int, int], is_dark: bool = False
) -> tuple[npt.NDArray[np.uint8], int, list[str]]:
    """The picture, how wide the page wants to be, and every address that was asked for."""
    return asyncio.run(_take(address, profile, size, is_dark))


async def _take(
    address: str, profile: Path, size: tuple[int, int], is_dark: bool
) -> tuple[npt.NDArray[np.uint8], int, list[str]]:
    asked: list[str] = []
    async with _page(profile) as socket:
        number = 0

        async def call(method: str, **parameters: Any) -> dict[str, Any]:
            nonlocal number
            number += 1
            await socket.send_json({"id": number, "method": method, "params": parameters})
            return await answer(number)

        async def answer(wanted: int) -> dict[str, Any]:
            while True:
                message = await _receive(socket)
                if message.get("method") == "Network.requestWillBeSent":
                    asked.append(message["params"]["request"]["url"])
                if message.get("id") == wanted:
                    result: dict[str, Any] = message["result"]
                    return result

        await call("Network.enable")
        width, height = size
        await call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        await call("Emulation.setEmulatedMedia", features=[scheme])
        await call("Page.navigate", url=address)
        ready = (
            "new Promise(done => { const wait = () => document.readyState === 'complete' && "
            f"location.href === {address!r} ? done(document.documentElement.scrollWidth) "
            ": setTimeout(wait, 20); wait() })"
        )
        found = await call("Runtime.evaluate", expression=ready, awaitPromise=True)
        shot = await call("Page.captureScreenshot")
    data = np.frombuffer(base64.b64decode(shot["data"]), np.uint8)
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    picture = np.ascontiguousarray(decoded[..., ::-1], dtype=np.uint8)
    return picture, int(found["result"]["value"]), asked
