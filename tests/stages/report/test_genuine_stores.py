"""Stores from genuine pickles, where they are at hand, have no finding either."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache.reader import Store
from stages.prepare.run import prepare
from stages.prepare.settings import DatasetFiles, PrepareSettings
from stages.report.findings import judge
from stages.report.scan import scan_store
from stages.report.settings import ReportSettings
from tests.stages.report.conftest import FILES

PICKLES = Path(__file__).resolve().parents[3].parent / "shared" / "pickles"


@pytest.mark.skipif(not PICKLES.is_dir(), reason="no genuine pickles beside the repository")
@pytest.mark.parametrize("dataset", FILES)
def test_genuine_pickles_have_no_finding(dataset: str, tmp_path: Path) -> None:
    store = tmp_path / f"{dataset}.zarr"
    files = DatasetFiles(PICKLES / FILES[dataset], PICKLES / "dataroot")
    prepare(dataset, files, store=store, settings=PrepareSettings(tmp_path, tmp_path / "cache"))
    figures = judge(scan_store(Store.open(store), ReportSettings()), ReportSettings())
    assert [figure.key for figure in figures if figure.is_breach] == []
    assert len(figures) > 15
