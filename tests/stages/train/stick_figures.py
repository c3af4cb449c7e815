"""Small stores in memory: coloured stick figures before noise, in all four kinds of annotation."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from stages.train.canonical_body import CanonicalBody, joint_table
from stages.train.settings import BatchSettings
from stages.train.sources import Source, open_source

# joint: (parent, place in the rest pose, metres: x left, y up, z forward)
REST: dict[str, tuple[str | None, tuple[float, float, float]]] = {
    "pelv": (None, (0.0, 0.0, 0.0)),
    "neck": ("pelv", (0.0, 0.5, 0.0)),
    "head": ("neck", (0.0, 0.7, 0.0)),
    "lhip": ("pelv", (0.1, -0.05, 0.0)),
    "lkne": ("lhip", (0.1, -0.5, 0.0)),
    "lank": ("lkne", (0.1, -0.9, 0.0)),
    "rhip": ("pelv", (-0.1, -0.05, 0.0)),
    "rkne": ("rhip", (-0.1, -0.5, 0.0)),
    "rank": ("rkne", (-0.1, -0.9, 0.0)),
    "lsho": ("neck", (0.2, 0.45, 0.0)),
    "lelb": ("lsho", (0.45, 0.45, 0.0)),
    "lwri": ("lelb", (0.7, 0.45, 0.0)),
    "rsho": ("neck", (-0.2, 0.45, 0.0)),
    "relb": ("rsho", (-0.45, 0.45, 0.0)),
    "rwri": ("relb", (-0.7, 0.45, 0.0)),
}
NAMES = tuple(REST)
PARENTS = [NAMES.index(parent) if parent else -1 for parent, _ in REST.values()]
PLACES = np.array([place for _, place in REST.values()], np.float32)
MIRROR = [NAMES.index({"l": "r", "r": "l"}.get(name[0], name[0]) + name[1:]) for name in NAMES]
IMAGE_SIDE = 96
KINDS = {
    "agora": "kp3d",
    "behave": "kp3d",
    "mads": "kp3d",
    "coco": "kp2d",
    "densepose_coco": "dense",
}


@dataclass
class StickSplit:
    """As much of `cache.reader.Split` as the loader uses."""

    name: str
    arrays: Mapping[str, npt.NDArray[Any]]
    images: Sequence[bytes]
    usable_rows: npt.NDArray[np.int64]
    rows_read: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.images)

    def column(self, name: str) -> npt.NDArray[Any]:
        return self.arrays[name]

    def blobs(self, name: str, rows: npt.NDArray[np.int64]) -> list[bytes]:
        if name == "image_path":
            return [f"{self.name}/{row}.jpg".encode() for row in rows]
        assert name == "image"
        self.rows_read.extend(int(row) for row in rows)
        return [self.images[row] for row in rows]


@dataclass
class StickStore:
    attributes: Mapping[str, Any]
    splits: Mapping[str, StickSplit]


def canonical_body() -> CanonicalBody:
    """A mesh with one degenerate face per bone, enough for surface points to live on."""
    faces = [[i, max(PARENTS[i], 0), i] for i in range(len(NAMES))]
    return CanonicalBody(PLACES, np.array(faces, np.int32), dict(zip(NAMES, PLACES, strict=True)))


@functools.cache
def stick_stores(*, n_train: int = 24, n_valid: int = 8, seed: int = 0) -> dict[str, StickStore]:
    """A store per dataset name, always the same for the same arguments."""
    return {
        dataset: _store(dataset, kind, n_train=n_train, n_valid=n_valid, seed=seed + i)
        for i, (dataset, kind) in enumerate(KINDS.items())
    }


def _store(dataset: str, kind: str, *, n_train: int, n_valid: int, seed: int) -> StickStore:
    rng = np.random.default_rng(seed)
    attributes = {
        "dataset": dataset,
        "kind": kind,
        "joint_names": list(NAMES),
        "mirror": MIRROR,
        "edges": [[i, p] for i, p in enumerate(PARENTS) if p >= 0],
    }
    sizes = {"train": n_train, "valid": n_valid, "test": 0}
    return StickStore(attributes, {name: _split(name, kind, n, rng) for name, n in sizes.items()})


def _split(name: str, kind: str, n: int, rng: np.random.Generator) -> StickSplit:
    poses = np.stack([_pose(rng) for _ in range(n)]) if n else np.zeros((0, len(NAMES), 3))
    poses = poses.astype(np.float32)
    focal, middle = 200.0, (IMAGE_SIDE - 1) / 2
    intrinsics = np.array([[focal, 0, middle], [0, focal, middle], [0, 0, 1]], np.float32)
    pixels = (poses @ intrinsics.T)[..., :2] / poses[..., 2:]
    low, high = pixels.min(axis=1, initial=1e9) - 4, pixels.max(axis=1, initial=-1e9) + 4
    is_2d = kind != "kp3d"
    arrays: dict[str, npt.NDArray[Any]] = {
        "status": np.zeros(n, np.uint8),
        "intrinsics": np.tile(intrinsics * (not is_2d), (n, 1, 1)),
        "extrinsics": np.tile(np.eye(3, 4, dtype=np.float32), (n, 1, 1)),
        "distortion": np.zeros((n, 14), np.float32),
        "world_up": np.tile(np.array([0, -1, 0], np.float32), (n, 1)),
        "bbox": np.concatenate([low, high - low], axis=1).astype(np.float32),
        "root_index": np.full(n, -1 if is_2d else 0, np.int32),
        "point_validity": rng.random((n, len(NAMES))) < 0.95,
        "coords3d": poses * (not is_2d),
        "mask_length": np.zeros(n, np.int32),
        "mask_size": np.zeros((n, 2), np.int32),
    }
    arrays["point_validity"][:, 0] = True
    if is_2d:
        arrays["coords2d"] = pixels.astype(np.float32)
    if kind == "dense":
        ids = np.arange(len(NAMES), dtype=np.int32)
        arrays["surface_vertices"] = np.tile(np.stack([ids, ids, ids], axis=1), (n, 1, 1))
        arrays["surface_weights"] = np.full((n, len(NAMES), 3), 1 / 3, np.float32)
    usable = np.flatnonzero(np.arange(n) % 12 != 5)  # some examples were rejected
    return StickSplit(name, arrays, [_picture(p, rng) for p in pixels], usable)


def _pose(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A random pose in the camera frame (15, 3), some 4 m away."""
    turns = [_rotation(rng.normal(0, 0.35, 3)) for _ in NAMES]
    facing = _rotation(np.array([0, rng.uniform(-np.pi, np.pi), 0]))
    points = np.zeros((len(NAMES), 3))
    frames = [facing @ turns[0]]
    for i in range(1, len(NAMES)):
        parent = PARENTS[i]
        points[i] = points[parent] + frames[parent] @ (PLACES[i] - PLACES[parent])
        frames.append(frames[parent] @ turns[i])
    upright = points * np.array([1, -1, -1])  # y down, z away from the camera
    return upright + np.array([rng.normal(0, 0.1), rng.normal(0, 0.1), rng.uniform(4.5, 5.5)])


def _rotation(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    matrix: npt.NDArray[np.float64] = cv2.Rodrigues(vector.astype(np.float64))[0]
    return matrix


def _picture(pixels: npt.NDArray[np.float32], rng: np.random.Generator) -> bytes:
    shape = (IMAGE_SIDE, IMAGE_SIDE, 3)
    image = rng.integers(60, 120, size=shape, dtype=np.uint8)
    for i, parent in enumerate(PARENTS):
        if parent >= 0:
            colour = (40, 220, 240) if NAMES[i][0] == "l" else (240, 60, 40)
            a, b = (tuple(np.round(pixels[j]).astype(int).tolist()) for j in (i, parent))
            cv2.line(image, a, b, colour if NAMES[i][0] in "lr" else (230, 230, 230), 3)
    return bytes(cv2.imencode(".jpg", image)[1])


def stick_sources(batch: BatchSettings, *, split_name: str = "train") -> list[Source]:
    """The stores' sources for these batch settings."""
    stores, body = stick_stores(), canonical_body()
    table = joint_table(body, dict.fromkeys(stores, NAMES))
    return [
        open_source(name, store, split_name=split_name, table=table, body=body, batch=batch)
        for name, store in stores.items()
    ]
