"""In a real browser the examples show with their overlays, and nobody else is asked anything."""

from __future__ import annotations

import subprocess
import sys
import urllib.parse
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from pipeline.schema import Kind
from stages.view import palette
from tests.stages.view.people import make_store

pytest.importorskip("aiohttp")

from tests.stages.view import chromium

ROOT = Path(__file__).resolve().parents[3]

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.skipif(chromium.PROGRAM is None, reason="no Chromium is installed"),
]


def shows_the_example(screenshot: npt.NDArray[np.uint8]) -> bool:
    """Left, right, box and mask in their colours, on the grey of the picture."""
    colours = (palette.LEFT, palette.RIGHT, palette.BOX, palette.MASK, (90, 90, 90))
    return all(
        int((np.abs(screenshot.astype(int) - colour).max(axis=2) < 10).sum()) > 60
        for colour in colours
    )


def shows_each(screenshot: npt.NDArray[np.uint8], n_stores: int) -> bool:
    """Whether every store's column of the window shows its example."""
    columns = np.array_split(screenshot, n_stores, axis=1)
    return all(shows_the_example(column) for column in columns)


@pytest.mark.parametrize(
    "kinds", [(Kind.KP3D,), (Kind.KP2D,), (Kind.DENSE,), (Kind.KP3D, Kind.DENSE)]
)
def test_the_browser_shows_the_examples(kinds: tuple[Kind, ...], tmp_path: Path) -> None:
    stores = [make_store(tmp_path / kind, kind=kind) for kind in kinds]
    process = subprocess.Popen(
        [sys.executable, ROOT / "cli.py", "view", *stores, "--web"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process, process.stderr:
        try:
            address = f"{process.stderr.readline().strip()}&renderer=webgl"
            look = chromium.look_at(
                address,
                tmp_path / "profile",
                until=lambda screenshot: shows_each(screenshot, len(kinds)),
                timeout_s=400,
            )
        finally:
            process.terminate()
    cv2.imwrite(str(tmp_path / "screenshot.png"), look.screenshot[..., ::-1])
    assert shows_each(look.screenshot, len(kinds)), tmp_path / "screenshot.png"
    hosts = {urllib.parse.urlsplit(asked).hostname for asked in look.addresses.values()}
    assert hosts - {None, ""} == {"127.0.0.1"}
    assert not [error for error in look.errors if "Failed to fetch" not in error]
