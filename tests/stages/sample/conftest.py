from __future__ import annotations

from pathlib import Path

import pytest

from stages.sample import SampleSettings, write_sample


@pytest.fixture(scope="session")
def sample_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small sample with pictures."""
    root = tmp_path_factory.mktemp("sample")
    write_sample(SampleSettings(out=root, examples=9, seed=3, jobs=1), progress=False)
    return root


@pytest.fixture(scope="session")
def unrendered_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A larger sample without pictures."""
    root = tmp_path_factory.mktemp("unrendered")
    settings = SampleSettings(out=root, examples=160, seed=4, jobs=1)
    write_sample(settings, with_images=False, progress=False)
    return root
