"""Where there is a display, `view` without `--save` opens a window that fits it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import ImageGrab, features

from stages.view import palette
from tests.stages.view.people import make_store

ROOT = Path(__file__).resolve().parents[3]
WIDTH, HEIGHT = 1366, 768  # a small laptop

pytestmark = [
    pytest.mark.skipif(shutil.which("Xvfb") is None, reason="no Xvfb is installed"),
    pytest.mark.skipif(importlib.util.find_spec("_tkinter") is None, reason="Python has no Tk"),
    pytest.mark.skipif(not features.check("xcb"), reason="Pillow cannot look at a screen"),
]


@pytest.fixture
def display() -> Iterator[str]:
    reader, writer = os.pipe()
    command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", f"{WIDTH}x{HEIGHT}x24"]
    with subprocess.Popen(command, pass_fds=[writer], stderr=subprocess.DEVNULL) as server:
        os.close(writer)
        with os.fdopen(reader) as pipe:
            number = pipe.readline().strip()
        yield f":{number}"
        server.terminate()


def test_a_window_shows_the_examples_and_fits_the_screen(display: str, tmp_path: Path) -> None:
    store = make_store(tmp_path)
    command = [sys.executable, ROOT / "cli.py", "view", store]
    environment = {
        k: v for k, v in os.environ.items() if k not in ("MPLBACKEND", "WAYLAND_DISPLAY")
    }
    with subprocess.Popen(command, env={**environment, "DISPLAY": display}) as process:
        deadline = time.monotonic() + 120
        while True:
            screen = np.asarray(ImageGrab.grab(xdisplay=display))
            if is_drawn(screen) or time.monotonic() > deadline or process.poll() is not None:
                break
            time.sleep(0.2)
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    ImageGrab.Image.fromarray(screen).save(tmp_path / "screen.png")
    assert is_drawn(screen), tmp_path / "screen.png"
    # The screen behind the window is black: it shows to the right of the window and below it.
    assert not screen[:, -20:].any()
    assert not screen[-3:].any()


def is_drawn(screen: npt.NDArray[np.uint8]) -> bool:
    """Sides, box and the frame of a rejected example, each in its colour."""
    colours = (palette.LEFT, palette.RIGHT, palette.BOX, palette.WARNING)
    difference = [np.abs(screen.astype(int) - colour).max(axis=2) for colour in colours]
    return all(int((d < 25).sum()) > 30 for d in difference)
