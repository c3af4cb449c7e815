from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages import settings as stage_settings
from stages.sample import SampleSettings, write_sample
from stages.sample.settings import DATASET_NAMES


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in sample, as small as it can be."""
    folder = tmp_path_factory.mktemp("docs") / "sample"
    counts = dict.fromkeys(DATASET_NAMES, 1) | {"mads": 8}
    settings = SampleSettings(out=folder, seed=2, jobs=1, examples_per_dataset=counts)
    write_sample(settings, progress=False)
    return folder


@contextlib.contextmanager
def standing_in(folder: Path) -> Iterator[Path]:
    """A project of its own: paths of params.yaml, and relative ones, are below this folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(stage_settings, "PROJECT_ROOT", folder)
        patch.setattr(signal, "signal", lambda *_: None)
        yield folder


@pytest.fixture
def project(sample: Path, tmp_path: Path) -> Iterator[Path]:
    """The reader's project folder after `cli.py sample`, and the current directory."""
    shutil.copytree(sample, tmp_path / "data" / "sample", copy_function=os.link)
    with standing_in(tmp_path):
        yield tmp_path
