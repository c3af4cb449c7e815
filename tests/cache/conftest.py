from __future__ import annotations

from pathlib import Path

import pytest

from tests.cache.small_store import SmallSource, make_source, publish_small


@pytest.fixture
def source(tmp_path: Path) -> SmallSource:
    return make_source(tmp_path / "images")


@pytest.fixture
def store(source: SmallSource, tmp_path: Path) -> Path:
    path = tmp_path / "small.zarr"
    publish_small(source, tmp_path / "blocks", path)
    return path
