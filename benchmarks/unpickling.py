"""The safe reader against plain `pickle.load`, side by side.

    python benchmarks/unpickling.py [--examples N] [--rounds R] [--json FILE]
        [--plots FOLDER]

A data set like a real installation's BEHAVE (49 joints, cropped, masks as run lengths, a quarter
SparseCoords) is written with ordinary classes under PosePile's module names. Then, in turn, in
fresh forks of this process, so that nobody inherits another's heap:

* `pickle.load` into those ordinary classes, measured inside the fork: the price of the fork and
  of freeing the objects is not counted against it;
* the same with the cyclic garbage collector paused;
* the safe reader: fork, limits, unpickling and validation;
* the safe reader and the conversion to all columns of a store (camera metres, validity, checked
  masks, reasons to reject), back in the parent.

`of_load` is the ratio of wall times to plain `pickle.load`.
"""

from __future__ import annotations

import argparse
import gc
import pickle
import statistics
import sys
import tempfile
import types
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import add_outputs, present, runs_in_turn, spread
from pipeline import unpickling
from pipeline.unpickling import Extract, PickledDataset
from stages.prepare.transfer import extract_columns

N_JOINTS = 49


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--examples", type=int, default=37_736)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--zcounts", action="store_true", help="zlib-compressed masks")
    add_outputs(parser)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "behave.pkl")
        with ordinary_classes() as classes:
            dataset = synthetic_dataset(classes, arguments.examples, zcounts=arguments.zcounts)
            path.write_bytes(pickle.dumps(dataset, pickle.HIGHEST_PROTOCOL))
            del dataset
            gc.collect()
            contestants: dict[str, Callable[[], None]] = {
                "pickle.load": lambda: plain_load(path, collector=True),
                "pickle.load, collector paused": lambda: plain_load(path, collector=False),
                "poseshard, unpickling only": lambda: safe_read(path, nothing),
                "poseshard, all columns": lambda: safe_read(path, extract_columns),
            }
            runs = runs_in_turn(contestants, rounds=arguments.rounds)
        size = path.stat().st_size / 1e6
    load = statistics.median(run.wall_s for run in runs["pickle.load"])
    rows = [
        {
            "reader": name,
            "examples": arguments.examples,
            "pickle_mb": size,
            "wall_s": spread([run.wall_s for run in found]),
            "cpu_s": spread([run.processor_s for run in found]),
            "mib": max(run.peak_mib for run in found),
            "of_load": statistics.median(run.wall_s for run in found) / load,
        }
        for name, found in runs.items()
    ]
    present("unpickling", rows, arguments, bars=("wall_s", "cpu_s", "mib"))


def plain_load(path: Path, *, collector: bool) -> None:
    """What everybody does."""
    if not collector:
        gc.disable()
    with path.open("rb") as file:
        pickle.load(file)


def safe_read(path: Path, extract: Callable[[PickledDataset], Extract]) -> None:
    """The whole of it."""
    unpickling.read_isolated(path, extract)


def nothing(dataset: PickledDataset) -> Extract:
    """No column at all."""
    return Extract({}, {"train": len(dataset.examples["train"])})


@contextmanager
def ordinary_classes() -> Iterator[dict[str, Any]]:
    """Plain classes under PosePile's module names, as long as this lasts."""
    places = {
        "Pose3DDataset": "posepile.datasets3d",
        "Pose3DExample": "posepile.datasets3d",
        "SparseCoords": "posepile.datasets3d",
        "JointInfo": "posepile.joint_info",
        "Camera": "cameravision.cameravision",
    }
    classes = {name: type(name, (), {"__module__": module}) for name, module in places.items()}
    added = []
    for name, module in places.items():
        parts = module.split(".")
        for i in range(len(parts)):
            full_name = ".".join(parts[: i + 1])
            if full_name not in sys.modules:
                sys.modules[full_name] = types.ModuleType(full_name)
                added.append(full_name)
        setattr(sys.modules[module], name, classes[name])
    try:
        yield classes
    finally:
        for full_name in added:
            del sys.modules[full_name]


def synthetic_dataset(classes: dict[str, Any], n_examples: int, *, zcounts: bool) -> Any:
    """A data set of random numbers in PosePile's exact structure."""
    random = np.random.default_rng(0)

    def make(name: str, **attributes: object) -> Any:
        made = classes[name]()
        made.__dict__.update(attributes)
        return made

    def mask() -> dict[str, Any]:
        height, width = (int(n) for n in random.integers(300, 700, 2))
        columns = np.arange(width)
        centre = height / 2 + np.cumsum(random.normal(0, 1.5, width))
        half = height / 4 + np.cumsum(random.normal(0, 1.5, width))
        rows = np.arange(height)[:, None]
        inside = (np.abs(rows - centre) < half) & (np.abs(columns - width / 2) < width / 3)
        counts = coco_mask.encode(np.asfortranarray(inside.astype(np.uint8)))["counts"]
        key, value = ("zcounts", zlib.compress(counts)) if zcounts else ("counts", counts)
        return {"size": [height, width], key: value}

    masks = [mask() for _ in range(64)]

    def coords(i: int) -> Any:
        dense = (random.random((N_JOINTS, 3)) * 1000).astype(np.float32)
        if i % 4:
            return dense
        joints = np.flatnonzero(random.random(N_JOINTS) < 0.7).astype(np.uint16)
        return make(
            "SparseCoords",
            shape=dense.shape,
            i_valid_joints=joints,
            valid_coords=dense[joints].astype(np.float16),
        )

    def body(i: int) -> dict[str, Any] | None:
        if i % 3:
            return None
        return {
            "type": "smplh",
            "gender": "male",
            "pose": random.random(156).astype(np.float32),
            "shape": random.random(10).astype(np.float32),
            "trans": random.random(3).astype(np.float32),
        }

    def camera() -> Any:
        return make(
            "Camera",
            R=np.linalg.qr(random.random((3, 3)))[0].astype(np.float32),
            t=(random.random(3) * 1000).astype(np.float32),
            intrinsic_matrix=np.array([[1000, 0, 128], [0, 1000, 128], [0, 0, 1]], np.float32),
            distortion_coeffs=None,
            world_up=np.array([0, -1, 0], np.float32),
        )

    def copy_of(a_mask: dict[str, Any]) -> dict[str, Any]:
        # Fresh objects, or the pickle would refer back to the first instead of repeating it.
        return {
            key: bytes(bytearray(v)) if isinstance(v, bytes) else list(v)
            for key, v in a_mask.items()
        }

    examples = [
        make(
            "Pose3DExample",
            image_path=f"behave_downscaled/sequence{i // 500:04d}/camera{i % 4}/{i:08d}.jpg",
            world_coords=coords(i),
            univ_coords=None,
            bbox=(random.random(4) * 256).astype(np.float16 if i % 4 == 0 else np.float32),
            camera=camera(),
            activity_name="unknown",
            scene_name="unknown",
            mask=copy_of(masks[i % len(masks)]),
            instance_mask=None,
            custom=None,
            image=None,
            parameters=body(i),
        )
        for i in range(n_examples)
    ]
    names = [f"joint{i}" for i in range(N_JOINTS)]
    joint_info = make(
        "JointInfo",
        ids={name: i for i, name in enumerate(names)},
        names=names,
        stick_figure_edges=[(i, i + 1) for i in range(N_JOINTS - 1)],
        mirror_mapping=list(range(N_JOINTS)),
    )
    return make(
        "Pose3DDataset",
        joint_info=joint_info,
        examples={0: examples, 1: [], 2: []},
        train_bones=np.ones(N_JOINTS - 1, np.float32),
    )


if __name__ == "__main__":
    main()
