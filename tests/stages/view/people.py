"""Flat grey pictures with a six-joint figure whose pixels are known, as examples and as stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_masks

from pipeline.columns import DatasetColumns, Ragged, SplitColumns
from pipeline.schema import Kind, Status
from pipeline.skeletons import skeleton_from_names
from stages.prepare.run import write_store
from stages.prepare.settings import PrepareSettings
from stages.prepare.source import Source
from stages.view.examples import ViewedExample

WIDTH, HEIGHT, GREY = 320, 240, 90
DEPTH_M = 4.0
SKELETON = skeleton_from_names(
    ["pelv", "head", "lwri", "rwri", "lank", "rank"],
    paths=["head-pelv-rank", "pelv-rwri"],
)
PELV, HEAD, LWRI, RWRI, LANK, RANK = range(6)
PIXELS = np.array([[160, 120], [160, 40], [240, 100], [80, 100], [190, 200], [130, 200]], float)
BOX = np.array([70, 30, 180, 180], np.float32)
INTRINSICS = np.array([[400, 0, 159.5], [0, 400, 119.5], [0, 0, 1]], np.float32)

N_TRAIN, N_VALID = 6, 2
ROW_PLAIN, ROW_PARTIAL, ROW_DISTORTED, ROW_MISSING, ROW_EMPTY, ROW_BROKEN = range(N_TRAIN)


def joints3d() -> npt.NDArray[np.float32]:
    """(6, 3), metres: where the pixels are, at one depth."""
    rays = np.linalg.solve(INTRINSICS.astype(float), np.c_[PIXELS, np.ones(6)].T).T
    return (rays * DEPTH_M).astype(np.float32)


def person_mask() -> npt.NDArray[np.bool_]:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[150:180, 60:100] = True
    return mask


def viewed(**changes: Any) -> ViewedExample:
    """The plain example, with changes."""
    values: dict[str, Any] = {
        "split": "train",
        "row": 7,
        "source": "a/7.png",
        "status": "usable",
        "detail": "",
        "picture": np.full((HEIGHT, WIDTH, 3), GREY, np.uint8),
        "picture_fault": "",
        "box": BOX,
        "mask": None,
        "joints2d": PIXELS,
        "joints3d": joints3d(),
        "validity": np.ones(6, dtype=bool),
        "is_ahead": np.ones(6, dtype=bool),
        "root_index": PELV,
        "surface": None,
    }
    return ViewedExample(**{**values, **changes})


def make_store(
    folder: Path, *, kind: Kind = Kind.KP3D, with_images: bool = True, mark_joints: bool = False
) -> Path:
    """A store `people.zarr` in the folder: train (some rows rejected), valid, an empty test.

    With `mark_joints`, left joints are red discs in the pictures, right ones blue, others white.
    """
    images = folder / "images"
    images.mkdir(parents=True)
    for name in [*(f"train/{r}.png" for r in range(N_TRAIN)), "valid/0.png", "valid/1.png"]:
        (images / name).parent.mkdir(exist_ok=True)
        picture = np.full((HEIGHT, WIDTH, 3), GREY, np.uint8)
        for joint, pixel in enumerate(PIXELS.astype(int) if mark_joints else []):
            colour = {"l": (0, 0, 255), "r": (255, 0, 0)}  # blue first, as OpenCV has it
            side = SKELETON.joint_names[joint][0]
            cv2.circle(picture, pixel.tolist(), 8, colour.get(side, (255, 255, 255)), -1)
        cv2.imwrite(str(images / name), picture)
    (images / f"train/{ROW_MISSING}.png").unlink()
    (images / f"train/{ROW_BROKEN}.png").write_bytes(b"no picture")
    splits = {
        "train": _split("train", N_TRAIN, kind),
        "valid": _split("valid", N_VALID, kind),
        "test": _split("test", 0, kind),
    }
    columns = DatasetColumns(kind, "test", SKELETON, splits)
    settings = PrepareSettings(folder, folder / "cache", rows_per_block=4, rows_per_chunk=2)
    provenance = {"source": "people.pkl", "source_sha256": "00" * 32, "era": "test"}
    write_store(
        "people",
        Source(columns, provenance),
        store=folder / "people.zarr",
        settings=settings,
        images=images if with_images else None,
    )
    return folder / "people.zarr"


def _split(name: str, n_rows: int, kind: Kind) -> SplitColumns:
    validity = np.ones((n_rows, 6), dtype=bool)
    coords3d = np.tile(joints3d(), (n_rows, 1, 1))
    coords2d = np.tile(PIXELS.astype(np.float32), (n_rows, 1, 1))
    distortion = np.zeros((n_rows, 14), np.float32)
    status = np.zeros(n_rows, np.uint8)
    details: dict[int, str] = {}
    if name == "train":
        validity[ROW_PARTIAL, HEAD] = False
        coords3d[ROW_PARTIAL, LWRI, 0] = 50  # far to the right of the picture
        coords2d[ROW_PARTIAL, LWRI, 0] = 5000
        coords3d[ROW_PARTIAL, RWRI, 2] = -1  # behind the camera
        distortion[ROW_DISTORTED, :2] = -0.3, 0.1
        validity[ROW_EMPTY] = False
        status[ROW_EMPTY] = Status.NO_VALID_POINT
        details[ROW_EMPTY] = "no point is annotated and finite"
    paths = [f"{name}/{row}.png".encode() for row in range(n_rows)]
    masks = [coco_masks.encode(np.asfortranarray(person_mask()))["counts"]] * n_rows
    arrays: dict[str, npt.NDArray[Any]] = {
        "status": status,
        "intrinsics": np.tile(INTRINSICS, (n_rows, 1, 1)),
        "extrinsics": np.tile(np.eye(3, 4, dtype=np.float32), (n_rows, 1, 1)),
        "distortion": distortion,
        "world_up": np.tile(np.float32([0, -1, 0]), (n_rows, 1)),
        "root_index": np.full(n_rows, PELV, np.int32),
        "point_validity": validity,
        "bbox": np.tile(BOX, (n_rows, 1)),
        "mask_size": np.tile(np.int32([HEIGHT, WIDTH]), (n_rows, 1)),
        "mask_length": np.array([len(m) for m in masks], np.int32),
    }
    ragged = {"image_path": _ragged(paths), "mask": _ragged(masks)}
    if kind is Kind.KP3D:
        arrays["coords3d"] = coords3d
        return SplitColumns(arrays, ragged, details)
    arrays |= {
        "intrinsics": np.zeros((n_rows, 3, 3), np.float32),
        "root_index": np.full(n_rows, -1, np.int32),
    }
    if kind is Kind.KP2D:
        arrays["coords2d"] = coords2d
    else:
        del arrays["point_validity"]
        arrays |= {"joint_validity": validity, "joints2d": coords2d}
        lengths = np.full(n_rows, 2, np.int32)
        ragged["surface_validity"] = Ragged(np.ones(2 * n_rows, dtype=bool), lengths)
        pixels = np.tile(np.float32([[100, 60], [220, 160]]), (n_rows, 1))
        ragged["surface_pixels"] = Ragged(pixels, lengths)
        triangles = np.tile(np.int32([[0, 1, 2], [6000, 6001, 6002]]), (n_rows, 1))
        ragged["surface_vertices"] = Ragged(triangles, lengths)
        weights = np.tile(np.float32([0.5, 0.25, 0.25]), (2 * n_rows, 1))
        ragged["surface_weights"] = Ragged(weights, lengths)
    return SplitColumns(arrays, ragged, details)


def _ragged(rows: list[bytes]) -> Ragged:
    values = np.frombuffer(b"".join(rows), np.uint8)
    return Ragged(values, np.array([len(row) for row in rows], np.int32))
