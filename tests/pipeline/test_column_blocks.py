"""Converting block by block gives what converting all at once gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline import columns
from pipeline.unpickling import load_annotations
from tests.pipeline.unpickling import era_pickles as genuine
from tests.pipeline.unpickling.era_pickles import ERAS, make


@pytest.mark.parametrize("rows_at_a_time", [1, 2, 3])
@pytest.mark.parametrize("build", [genuine.dataset3d, genuine.dataset2d])
def test_blocks_join_to_the_whole(
    rows_at_a_time: int, build: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    era = ERAS[-2]
    root = build(era)  # type: ignore[operator]
    if build is genuine.dataset3d:
        examples = root.examples[2]
        examples[1].parameters = {"type": "smpl", "shape": np.ones(16, np.float32)}  # wider
        examples[2].camera = make(genuine.Camera)  # rejected
    path = tmp_path / "set.pkl"
    path.write_bytes(genuine.pickled(root, era))
    dataset = load_annotations(path)
    whole = columns.convert(dataset)
    monkeypatch.setattr(columns, "_ROWS_AT_A_TIME", rows_at_a_time)
    joined = columns.convert(dataset)
    assert any(split.details for split in whole.splits.values())
    for name, split in whole.splits.items():
        other = joined.splits[name]
        assert other.details == split.details
        assert list(other.arrays) == list(split.arrays)
        assert list(other.ragged) == list(split.ragged)
        for column, array in split.arrays.items():
            assert other.arrays[column].dtype == array.dtype
            np.testing.assert_array_equal(other.arrays[column], array)
        for column, ragged in split.ragged.items():
            assert other.ragged[column].values.dtype == ragged.values.dtype
            np.testing.assert_array_equal(other.ragged[column].values, ragged.values)
            np.testing.assert_array_equal(other.ragged[column].lengths, ragged.lengths)
