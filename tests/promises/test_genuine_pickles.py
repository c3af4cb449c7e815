"""A genuine PosePile pickle becomes a store that says, column by column, what the pickle said.

The expected arrays beside each pickle were computed with the genuine classes' own methods.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from cache.reader import Split, Store

ROOT = Path(__file__).resolve().parents[2]
PICKLES = ROOT.parent / "shared" / "pickles"
FILE_NAMES = {
    "agora": "agora3",
    "behave": "behave",
    "mads": "mads",
    "coco": "coco",
    "densepose_coco": "densepose_coco",
}
SPLITS = ("train", "valid", "test")
FOLDERS = [
    pytest.param(PICKLES / variant, id=variant or "newest")
    for variant in ("", "variants/pp2024dec_cameralib_addict")
]

pytestmark = pytest.mark.skipif(not PICKLES.is_dir(), reason="../shared/pickles is not there")


@pytest.fixture(params=FOLDERS)
def folder(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture(params=FILE_NAMES)
def dataset(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def store(folder: Path, dataset: str, tmp_path: Path) -> Store:
    path = tmp_path / f"{dataset}.zarr"
    command = [sys.executable, str(ROOT / "cli.py"), "prepare", dataset]
    command += ["--annotations", str(folder / f"{FILE_NAMES[dataset]}.pkl")]
    command += ["--images", str(folder / "dataroot"), "--store", str(path)]
    command += ["--cache", str(tmp_path / "blocks"), "--strict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return Store.open(path)


@pytest.fixture
def expected(folder: Path, dataset: str) -> dict[str, np.ndarray]:
    with np.load(folder / f"{FILE_NAMES[dataset]}_expected.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def test_the_store_says_what_the_pickle_said(
    store: Store, expected: dict[str, np.ndarray], folder: Path
) -> None:
    np.testing.assert_array_equal(store.attributes["joint_names"], expected["joint_names"])
    np.testing.assert_array_equal(store.attributes["edges"], expected["edges"])
    np.testing.assert_array_equal(store.attributes["mirror"], expected["mirror_mapping"])
    counts = [int((expected["split"] == code).sum()) for code in range(3)]
    assert [len(store.splits[name]) for name in SPLITS] == counts
    first = 0
    for name, count in zip(SPLITS, counts, strict=True):
        part = {
            key: array[first : first + count]
            for key, array in expected.items()
            if len(array) == len(expected["split"]) and key not in ("edges",)
        }
        if "dense_lengths" in expected:
            ends = np.cumsum(expected["dense_lengths"])
            low = int(ends[first - 1]) if first else 0
            high = int(ends[first + count - 1]) if count else low
            for key in ("dense_px", "dense_faces", "dense_bary"):
                part[key] = expected[key][low:high]
        if count:
            _compare_split(store.splits[name], part, expected, folder)
        first += count


def _compare_split(
    split: Split,
    part: dict[str, np.ndarray],
    whole: dict[str, np.ndarray],
    folder: Path,
) -> None:
    rows = np.arange(len(split))
    found = split.gather(rows)
    np.testing.assert_array_equal(found["status"], 0)
    np.testing.assert_array_equal(found["bbox"], part["bbox"])
    paths = [path.decode() for path in split.blobs("image_path", rows)]
    assert paths == part["image_path"].tolist()
    pictures = split.blobs("image", rows)
    assert pictures == [(folder / "dataroot" / path).read_bytes() for path in paths]
    _compare_masks(split, part, rows)

    if "dense_lengths" in part:
        lengths = part["dense_lengths"]
        valid = np.arange(found["point_validity"].shape[1]) < lengths[:, None]
        np.testing.assert_array_equal(found["point_validity"], valid)
        np.testing.assert_array_equal(found["coords2d"][valid], part["dense_px"])
        np.testing.assert_array_equal(found["surface_vertices"][valid], part["dense_faces"])
        np.testing.assert_array_equal(found["surface_weights"][valid], part["dense_bary"])
        names = ("joints2d", "joint_validity")
    else:
        names = ("coords2d", "point_validity")
        np.testing.assert_array_equal(found["point_validity"], part["validity"])
        np.testing.assert_array_equal(
            found["root_index"],
            _root_index(part["validity"], whole["pelvis_joint_ids"]),
        )
    if "coords_px" in part:
        validity = part["validity"]
        np.testing.assert_array_equal(found[names[1]], validity)
        np.testing.assert_array_equal(found[names[0]][validity], part["coords_px"][validity])
        return
    validity = part["validity"]
    error_m = np.abs(found["coords3d"] - part["camcoords_m"])[validity]
    assert error_m.max() < 0.5e-3
    np.testing.assert_array_equal(found["coords3d"][~validity], 0)
    np.testing.assert_array_equal(found["intrinsics"], part["intrinsics"])
    np.testing.assert_allclose(found["extrinsics"][:, :, :3], part["R"], atol=1e-6)
    centre_m = -np.einsum("nji,nj->ni", found["extrinsics"][:, :, :3], found["extrinsics"][:, :, 3])
    np.testing.assert_allclose(centre_m, part["t_mm"] / 1000, atol=0.5e-3)
    np.testing.assert_array_equal(found["distortion"][:, :12], part["distortion12"])
    np.testing.assert_allclose(found["world_up"], part["world_up"], atol=1e-6)


def _compare_masks(split: Split, part: dict[str, np.ndarray], rows: np.ndarray) -> None:
    sizes = split.gather(rows, ["mask_size"])["mask_size"]
    for counts, size, area, hw in zip(
        split.blobs("mask", rows), sizes, part["mask_area"], part["mask_hw"], strict=True
    ):
        if area < 0:
            assert not counts
            continue
        np.testing.assert_array_equal(size, hw)
        assert coco_mask.area({"size": size.tolist(), "counts": counts}) == area


def _root_index(validity: np.ndarray, pelvis_joints: np.ndarray) -> list[int]:
    return [next((int(j) for j in pelvis_joints if row[j]), -1) for row in validity]
