from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.promises.world import FAST_PLACE, World, make_world


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder of this test alone, in memory where that is possible."""
    if not os.access(FAST_PLACE, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=FAST_PLACE, prefix="poseshard-") as made:
        yield Path(made)


@pytest.fixture
def world(folder: Path) -> World:
    return make_world(folder / "world")
