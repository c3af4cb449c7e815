"""Sample data, small; sound by construction. Each dataset is read once and spoilt many times."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cache.reader import Store
from stages.prepare.run import write_store
from stages.prepare.settings import DatasetFiles, PrepareSettings
from stages.prepare.source import Source, read_source
from stages.report.findings import Figure, judge
from stages.report.scan import scan_store
from stages.report.settings import ReportSettings
from stages.sample import SampleSettings, write_sample
from stages.view.run import body_mesh
from tests.stages.report import bugs

FILES = {
    "agora": "agora3.pkl",
    "behave": "behave.pkl",
    "mads": "mads.pkl",
    "coco": "coco.pkl",
    "densepose_coco": "densepose_coco.pkl",
}
RENDERED = {"agora": 14, "behave": 28, "mads": 8, "coco": 22, "densepose_coco": 12}

Figures = dict[str, Figure]


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("rendered")
    settings = SampleSettings(out=root, examples=8, seed=3, jobs=1, examples_per_dataset=RENDERED)
    write_sample(settings, progress=False)
    return root


@pytest.fixture(scope="session")
def unrendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("unrendered")
    settings = SampleSettings(out=root, examples=160, seed=4, jobs=1)
    write_sample(settings, with_images=False, progress=False)
    return root


@functools.cache
def source_of(dataset: str, root: Path) -> Source:
    return read_source(dataset, DatasetFiles(root / FILES[dataset], root))


Measure = Callable[..., Figures]


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[..., Path]:
    def make(dataset: str, root: Path, bug: bugs.Bug, *, share: float, images: bool) -> Path:
        sound = source_of(dataset, root)
        spoilt = Source(bugs.with_bug(sound.columns, bug, share=share), sound.provenance)
        settings = PrepareSettings(tmp_path, tmp_path / "cache", rows_per_block=256)
        store = tmp_path / f"{dataset}.zarr"
        images_folder = root if images else None
        write_store(dataset, spoilt, store=store, settings=settings, images=images_folder)
        return store

    return make


@pytest.fixture
def measure(make_store: Callable[..., Path]) -> Measure:
    """The figures of a sample dataset with a bug in a share of its examples, by key."""

    def run(
        dataset: str,
        root: Path,
        bug: bugs.Bug = bugs.nothing,
        *,
        share: float = 1.0,
        images: bool = True,
        **settings: Any,
    ) -> Figures:
        store = make_store(dataset, root, bug, share=share, images=images)
        chosen = ReportSettings(**settings)
        scan = scan_store(Store.open(store), chosen, body=body_mesh(root / "body.npz"))
        return {figure.key: figure for figure in judge(scan, chosen)}

    return run


def breaches(figures: Figures) -> set[str]:
    return {key for key, figure in figures.items() if figure.is_breach}
