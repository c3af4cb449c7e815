"""Whatever is compared holds the same: every installed container gives back what was written."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import contestant
from benchmarks.containers import CONTAINERS, LIMIT, OURS
from benchmarks.reading import compare
from tests.cache.small_store import make_source, publish_small

NEEDS = {
    "array_record_files": "msgpack_numpy",
    "barecat_msgpack": "barecat",
    "mds": "streaming",
    "web_dataset": "webdataset",
}


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    publish_small(make_source(folder / "images"), folder / "blocks", folder / "s.zarr")
    return folder / "s.zarr" / "train"


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_gives_back_what_was_written(name: str, ours: Path, tmp_path: Path) -> None:
    container = CONTAINERS[name]
    if find_spec(NEEDS.get(container.module, "numpy")) is None:
        pytest.skip("make setup-bench installs it, in an environment of its own")
    path = ours if container.reads_our_store else tmp_path / "container"
    if path != ours:
        contestant.write(name, path, ours)
    contestant.prove(name, path, ours)


def test_a_container_that_holds_something_else_is_found_out(ours: Path, tmp_path: Path) -> None:
    contestant.write(LIMIT, tmp_path / "c", ours)
    for name in ("image", "coords3d.npy"):
        path = tmp_path / "c" / name
        sound = path.read_bytes()
        path.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
        with pytest.raises(RuntimeError, match=f"another {path.stem} than was written"):
            contestant.prove(LIMIT, tmp_path / "c", ours)
        path.write_bytes(sound)


def test_a_comparison_measures_everybody_and_the_limits(ours: Path) -> None:
    rows = compare(ours.parent, [LIMIT, OURS], 2)
    assert [row["container"] for row in rows] == ["limit: decoding the picture", LIMIT, OURS]
    for row in rows[1:]:
        for key in ("start_s", "us", "again_us", "cold_us", "split_us", "mib"):
            assert 0 < row[key]["least"] <= row[key]["median"] <= row[key]["greatest"]
    assert "CRC" in rows[-1]["checked"]
