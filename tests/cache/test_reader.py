"""Our reader, and every Zarr v3 implementation, get back what was put in."""

from __future__ import annotations

import os
import pickle
import resource
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorstore
import zarr
import zarrs  # noqa: F401 - registers the codec pipeline

from cache.reader import Store
from errors import StoreError
from tests.cache.small_store import (
    IMAGE_BYTES,
    LAYOUTS,
    N_ROWS,
    ROW_BROKEN,
    ROW_MISSING,
    ROW_REJECTED,
    ROWS_PER_BLOCK,
    SmallSource,
)

UNUSABLE = [ROW_MISSING, ROW_BROKEN, ROW_REJECTED]


def test_any_rows_in_any_order_come_back(source: SmallSource, store: Path) -> None:
    rows = np.random.default_rng(1).integers(0, N_ROWS, 400)
    found = Store.open(store).splits["train"].gather(rows)
    usable = ~np.isin(rows, UNUSABLE)
    for name in ("coords3d", "point_validity", "root_index"):
        expected = source.arrays[name][rows[usable]]
        np.testing.assert_array_equal(found[name][usable], expected)
    np.testing.assert_array_equal(found["root_index"][~usable], -1)
    np.testing.assert_array_equal(found["coords3d"][~usable], 0)
    assert "image" not in found


def test_every_picture_comes_back_byte_for_byte(source: SmallSource, store: Path) -> None:
    rows = np.random.default_rng(2).permutation(N_ROWS)
    pictures = Store.open(store).splits["train"].blobs("image", rows)
    for row, picture in zip(rows, pictures, strict=True):
        assert picture == (b"" if row in UNUSABLE else source.image(row))


def test_one_example_is_what_the_columns_hold(store: Path) -> None:
    split = Store.open(store).splits["train"]
    assert ROW_BROKEN not in split.usable_rows
    for row in [*range(0, len(split), 7), ROW_BROKEN, len(split) - 1]:
        example = split.example(row)
        assert example.keys() == split.columns.keys()
        assert example.pop("image") == split.blobs("image", [row])[0]
        for name, value in example.items():
            np.testing.assert_array_equal(value, split.column(name)[row])
    with pytest.raises(IndexError):
        split.example(len(split))


def test_one_example_of_a_missing_shard_is_an_error(store: Path) -> None:
    (store / "train" / "coords3d" / "c" / "1" / "0" / "0").unlink()
    split = Store.open(store).splits["train"]
    split.example(ROWS_PER_BLOCK - 1)
    with pytest.raises(StoreError, match="the file is missing") as caught:
        split.example(ROWS_PER_BLOCK)
    assert "coords3d" in caught.value.where


def test_unusable_rows_are_listed_with_their_reasons(store: Path) -> None:
    split = Store.open(store).splits["train"]
    assert len(split) == N_ROWS
    assert sorted(set(range(N_ROWS)) - set(split.usable_rows.tolist())) == sorted(UNUSABLE)
    assert {(r.row, r.detail) for r in split.rejections} == {
        (ROW_MISSING, "No such file or directory"),
        (ROW_BROKEN, "nil"),
        (ROW_REJECTED, "nothing"),
    }


@pytest.mark.parametrize("pipeline", ["zarr-python", "zarrs", "tensorstore"])
def test_other_zarr_implementations_agree(store: Path, pipeline: str) -> None:
    split = Store.open(store).splits["train"]
    codec_pipeline = {
        "zarr-python": "zarr.core.codec_pipeline.BatchedCodecPipeline",
        "zarrs": "zarrs.ZarrsCodecPipeline",
    }
    for layout in LAYOUTS:
        ours = split.column(layout.name)
        if pipeline == "tensorstore":
            path = str(store / "train" / layout.name)
            spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": path}}
            theirs = tensorstore.open(spec).result()[...].read().result()
        else:
            with zarr.config.set({"codec_pipeline.path": codec_pipeline[pipeline]}):
                theirs = zarr.open_group(store, mode="r")[f"train/{layout.name}"][:]
        assert theirs.dtype == ours.dtype
        np.testing.assert_array_equal(theirs, ours)
    assert split.column("image").shape == (N_ROWS, IMAGE_BYTES)


def test_parts_of_a_column_are_the_column(store: Path) -> None:
    split = Store.open(store).splits["train"]
    whole = split.column("coords3d")
    for start, stop in [(0, 1), (31, 33), (60, 70), (64, 64), (149, 150), (0, 150)]:
        np.testing.assert_array_equal(split.column("coords3d", start, stop), whole[start:stop])


@pytest.mark.parametrize("piece", [1, 10_000, 1 << 24])
def test_all_columns_together_are_the_columns(
    store: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr("cache.reader._TASK_BYTES", piece)
    monkeypatch.setattr("cache.reader._RUN_BYTES", piece)
    for split in Store.open(store).splits.values():
        for _ in range(2):
            found = split.read()
            assert list(found) == [name for name in split.columns if name != "image"]
            for name, values in found.items():
                np.testing.assert_array_equal(values, split.column(name))
    path = store / "train/coords3d/c/1/0/0"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.unlink()
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"coords3d/c/1/0/0, rows 64 to 95"):
        Store.open(store).splits["train"].read()


def test_absent_splits_are_empty(store: Path) -> None:
    split = Store.open(store).splits["valid"]
    assert len(split) == 0
    assert split.column("coords3d").shape == (0, 5, 3)


def test_threads_and_other_processes_may_read(source: SmallSource, store: Path) -> None:
    split = pickle.loads(pickle.dumps(Store.open(store).splits["train"]))
    rows = [row for row in range(N_ROWS) if row not in UNUSABLE] * 4
    with ThreadPoolExecutor(8) as pool:
        pictures = list(pool.map(lambda row: split.blobs("image", [row])[0], rows))
    assert pictures == [source.image(row) for row in rows]


def test_a_row_out_of_range_is_an_error(store: Path) -> None:
    split = Store.open(store).splits["train"]
    for rows in ([N_ROWS], [-1]):
        with pytest.raises(IndexError, match="split 'train'"):
            split.gather(rows)


def test_a_store_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="prepare agora"):
        Store.open(tmp_path / "agora.zarr")


def test_a_missing_shard_is_an_error_and_not_fill_values(store: Path) -> None:
    (store / "train/coords3d/c/1/0/0").unlink()
    split = Store.open(store).splits["train"]
    split.gather([0], ["coords3d"])
    with pytest.raises(StoreError, match=r"coords3d/c/1/0/0, rows 64 to 127"):
        split.gather([0, 70], ["coords3d"])


@pytest.mark.parametrize("column", ["coords3d", "image", "status"])
def test_a_flipped_bit_anywhere_in_a_shard_never_gives_a_wrong_value(
    store: Path, column: str
) -> None:
    layout = next(layout for layout in LAYOUTS if layout.name == column)
    expected = Store.open(store).splits["train"].column(column, 0, 64)
    path = store / "train" / layout.shard_path(0)
    data = path.read_bytes()
    path.unlink()
    rng = np.random.default_rng(3)
    n_caught = 0
    for position in rng.integers(0, len(data), 40).tolist():
        damaged = bytearray(data)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        split = Store.open(store).splits["train"]
        for row in range(64):
            try:
                found = split.column(column, row, row + 1)
            except StoreError as error:
                assert str(path) in str(error)
                n_caught += 1
            else:
                np.testing.assert_array_equal(found, expected[row : row + 1])
    assert n_caught >= 40


def test_a_store_that_is_replaced_while_it_is_read_stays_the_old_one(
    source: SmallSource, store: Path, tmp_path: Path
) -> None:
    from tests.cache.small_store import publish_small

    split = Store.open(store).splits["train"]
    before = source.arrays["coords3d"].copy()
    source.arrays["coords3d"][:] += 1
    assert publish_small(source, tmp_path / "blocks", store)
    np.testing.assert_array_equal(
        split.gather([0, 70, 149], ["coords3d"])["coords3d"], before[[0, 70, 149]]
    )
    new = Store.open(store).splits["train"]
    np.testing.assert_array_equal(new.gather([0], ["coords3d"])["coords3d"][0], before[0] + 1)


def test_a_manifest_that_was_altered_is_an_error(store: Path) -> None:
    path = store / "manifest.json"
    data = path.read_text()
    path.unlink()
    path.write_text(data.replace('"usable": 147', '"usable": 148'))
    with pytest.raises(StoreError, match="own digest"):
        Store.open(store)
    path.write_text(data[: len(data) // 2])
    with pytest.raises(StoreError, match="manifest is damaged"):
        Store.open(store)
    shutil.rmtree(store)


def test_files_that_others_hold_open_do_not_keep_a_store_from_being_read(store: Path) -> None:
    split = Store.open(store).splits["train"]
    rows = np.arange(len(split))
    expected = split.gather(rows)
    again = Store.open(store, decoded_bytes=0).splits["train"]
    again.gather([0])
    held: list[int] = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        # Room for none but those that the store has open already.
        held.append(os.open("/", os.O_RDONLY))
        resource.setrlimit(resource.RLIMIT_NOFILE, (held[0] + 1, hard))
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                held.append(os.open("/", os.O_RDONLY))
        found = again.gather(rows)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in held:
            os.close(fd)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
