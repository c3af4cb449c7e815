"""In a real browser the page fits its window, by day and by night, and asks for nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages.report.run import report
from stages.report.settings import ReportSettings
from stages.view import palette
from tests.stages.report import bugs

pytest.importorskip("aiohttp")

from tests.stages.report.screenshot import look_at_page
from tests.stages.view import chromium

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(600),
    pytest.mark.skipif(chromium.PROGRAM is None, reason="no Chromium is installed"),
]


def test_the_page_shows_in_every_window(
    rendered: Path, make_store: Callable[..., Path], tmp_path: Path
) -> None:
    store = make_store("behave", rendered, bugs.box_doubled, share=0.3, images=True)
    page = report([store], ReportSettings(out=tmp_path / "out")).page
    brightness = []
    for n, (width, is_dark) in enumerate([(1280, False), (1280, True), (400, False), (400, True)]):
        picture, wanted, asked = look_at_page(
            page.as_uri(), tmp_path / f"profile{n}", size=(width, 1400), is_dark=is_dark
        )
        assert wanted <= width  # nothing to scroll sideways
        outside = [a for a in asked if not a.startswith(("data:", page.as_uri()))]
        assert outside == []
        near_box = np.abs(picture.astype(int) - palette.BOX).max(axis=2) < 40
        assert near_box.sum() > 200  # thumbnails are there, with their boxes
        brightness.append(float(np.median(picture)))
    assert brightness[0] > 200 > 60 > brightness[1]
    assert brightness[2] > 200 > 60 > brightness[3]
