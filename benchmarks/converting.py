"""From pickle and pictures to a finished container: ours against the others.

    make setup-bench && .venv-bench/bin/python benchmarks/converting.py SAMPLE ... [--rounds R]
        [--datasets agora ...] [--only NAME ...] [--json FILE] [--plots FOLDER]

SAMPLE is the folder that `cli.py sample` wrote. Everybody begins with the pickle and the pictures'
files in the page cache and ends when the last byte is on the disk (`sync`); imports are done before
the clock starts, each run is a process of its own.

* *limit*: plain `pickle.load`, and copying the pictures into one file: no conversion, no check.
* *poseshard*: the whole of `prepare` into an empty cache. It reads the pickle safely, checks every
  picture and mask, works with two processes and can be killed at any time.
* everybody else gets the columns from our own safe reader, as nothing else reads these pickles,
  then reads the pictures and writes them, in one process and without checking them.

Barecat, which appends every record to one file, comes near, and is the first where there is little
to convert (coco): ours looks into every picture and makes some hundred files durable, one by one,
before a store is there.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import resource
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.containers import CONTAINERS, OURS, Examples
from benchmarks.measuring import (
    add_outputs,
    in_a_process,
    ordinary_classes,
    peak_mib,
    present,
    spread,
)
from pipeline.columns import SplitColumns
from pipeline.datasets import DATASETS
from stages.prepare.planning import split_sources
from stages.prepare.run import prepare
from stages.prepare.settings import DatasetFiles, PrepareSettings
from stages.prepare.source import read_source

LIMIT = "limit: pickle.load, copy"
TEXTS = ("image_path", "mask")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("sample", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--datasets", nargs="*", default=list(DATASETS), choices=list(DATASETS))
    names = [LIMIT, OURS, *(n for n, c in CONTAINERS.items() if is_peer(n) and c)]
    parser.add_argument("--only", nargs="*", default=names, choices=names)
    add_outputs(parser)
    arguments = parser.parse_args()
    rows = []
    for dataset in arguments.datasets:
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in arguments.only}
        for _ in range(arguments.rounds):
            for name, found in runs.items():
                found.append(in_a_process("benchmarks.converting", name, dataset, arguments.sample))
        for name, found in runs.items():
            figures = {key: spread([f[key] for f in found]) for key in ("wall_s", "cpu_s", "mib")}
            rows.append({"container": name, "dataset": dataset, **figures})
    present("converting", rows, arguments, bars=("wall_s", "cpu_s"))


def is_peer(container: str) -> bool:
    return not CONTAINERS[container].reads_our_store and not container.startswith("limit")


# --- in the contestant's own process -----------------------------------------------------------


def contest(name: str, dataset: str, sample: Path) -> dict[str, float]:
    warnings.simplefilter("ignore", DeprecationWarning)  # of NumPy 1's names in pickles
    files = DatasetFiles(sample / DATASETS[dataset].file_name, sample)
    # On a disk, not in memory: what is durable costs time.
    place = Path(tempfile.mkdtemp(dir=Path(__file__).parent))
    try:
        with ordinary_classes(files.annotations):
            if name in CONTAINERS:
                CONTAINERS[name].load()
            os.sync()
            used, began = processor_s(), time.perf_counter()
            work = {LIMIT: load_and_copy, OURS: prepare_store}.get(name)
            if work is not None:
                work(dataset, files, place)
            else:
                convert(name, dataset, files, place)
            os.sync()
            wall = time.perf_counter() - began
    finally:
        shutil.rmtree(place)
    return {"wall_s": wall, "cpu_s": processor_s() - used, "mib": peak_mib()}


def processor_s() -> float:
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, kinds))


def load_and_copy(dataset: str, files: DatasetFiles, place: Path) -> None:
    with files.annotations.open("rb") as file:
        loaded = pickle.load(file)
    paths = {example.image_path for split in loaded.examples.values() for example in split}
    with (place / "pictures").open("wb") as out:
        for path in paths:
            out.write((files.images / path).read_bytes())


def prepare_store(dataset: str, files: DatasetFiles, place: Path) -> None:
    settings = PrepareSettings(place, place / "blocks")
    prepare(dataset, files, store=place / "store.zarr", settings=settings, n_jobs=2)


def convert(name: str, dataset: str, files: DatasetFiles, place: Path) -> None:
    for split_name, split in read_source(dataset, files).columns.splits.items():
        if split.n_rows:
            CONTAINERS[name].write(place / split_name, examples_of_columns(split, files.images))


def examples_of_columns(split: SplitColumns, images: Path) -> Examples:
    """What everybody writes: the converted columns and the pictures' bytes."""
    arrays, blobs = dict(split.arrays), {}
    for name, ragged in split.ragged.items():
        if name in TEXTS:
            ends = np.cumsum(ragged.lengths).tolist()
            data = ragged.values.tobytes()
            blobs[name] = [data[a:b] for a, b in zip([0, *ends], ends, strict=False)]
        else:
            arrays[name] = ragged.padded(0, split.n_rows, int(ragged.lengths.max(initial=0)))
    blobs["image"] = [
        path.read_bytes() if (path := images / source).is_file() else b""
        for source in split_sources(split, images=images)
    ]
    return Examples(arrays, blobs)


if __name__ == "__main__":
    if sys.argv[1] in (LIMIT, OURS) or sys.argv[1] in CONTAINERS:
        print(json.dumps(contest(sys.argv[1], sys.argv[2], Path(sys.argv[3]))), flush=True)
        os._exit(0)  # some leave threads behind
    main()
