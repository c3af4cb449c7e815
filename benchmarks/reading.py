"""Reading back: start-up, one random example, cold and warm, and a whole split; every container.

    make setup-bench && .venv-bench/bin/python benchmarks/reading.py STORE ... [--rounds R]
        [--only NAME ...] [--json FILE] [--plots FOLDER]

The largest split of each store is written again by every other container, with its best documented
settings; what all of them read back is compared, byte for byte, before anything counts. Then they
take turns, each time in a process of its own:

* `start_s`: from the start of Python to the first example, imports included;
* `us`: processor time of one random example, its encoded picture and everything else, and
  `wall_us`; files are in the page cache. `again_us` and `again_wall_us` are the same examples once
  more, as in a second epoch. `mib` is the most memory up to there;
* `cold_us`: wall time of one random example with a newly opened container, after the system was
  told (`posix_fadvise`) to forget its files;
* `split_us`: wall time per example of opening it and reading all columns but the pictures, of the
  whole split, files in the page cache; `split_cpu_us` is its processor time.

The first rows are limits: arrays as NumPy keeps them, nothing compressed and nothing checked, and
the time that OpenCV takes to decode one of the pictures. TFRecord and WebDataset have no random
access: an example costs those before it in its shard of 1,000. MDS with zstd unpacks its shards to
the disk when they are first read, before anything is measured; it is plain MDS after that.

Where ours is not the first: a record (ArrayRecord, Barecat, MDS) lies in one place on the disk, an
example of ours in as many files as there are columns. They are asked for together, but they are
more to read when cold, and more still where rows are wide: 32 neighbours come along in each chunk.
They are kept: an example is the quickest to get as soon as one near it was read, which is `again`.
HDF5 reads a small split sooner: it opens one file, where ours reads and checks a manifest and the
metadata of every column, and it checks no byte of what it reads.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import numpy as np

from benchmarks import contestant
from benchmarks.containers import CONTAINERS
from benchmarks.measuring import add_outputs, present, spread
from cache.reader import Split, Store

FIGURES = (
    *("start_s", "cold_us", "us", "wall_us", "again_us", "again_wall_us"),
    *("split_us", "split_cpu_us", "mib"),
)
DECODING = "limit: decoding the picture"
N_DECODED = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("stores", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=list(CONTAINERS), choices=list(CONTAINERS))
    add_outputs(parser)
    arguments = parser.parse_args()
    rows = [row for s in arguments.stores for row in compare(s, arguments.only, arguments.rounds)]
    present("reading", rows, arguments, bars=("start_s", "cold_us", "us", "again_us", "split_us"))


def compare(store: Path, names: Sequence[str], rounds: int) -> list[dict[str, Any]]:
    """A row for every container, and one for decoding."""
    split = max(Store.open(store).splits.values(), key=len)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in [DECODING, *names]}
    with written(store / split.name, names) as paths:
        for name, path in paths.items():
            contestant.prove(name, path, store / split.name)
        for _ in range(rounds):
            runs[DECODING].append({"us": decoding_us(split)})
            for name, path in paths.items():
                runs[name].append(contestant.measure(name, path, len(split)))
    return [
        {"container": name, "store": store.stem, "examples": len(split)}
        | {key: spread([run[key] for run in found]) for key in FIGURES if key in found[0]}
        | {key: found[0][key] for key in ("checked",) if key in found[0]}
        for name, found in runs.items()
    ]


@contextlib.contextmanager
def written(ours: Path, names: Sequence[str]) -> Iterator[dict[str, Path]]:
    """Where each container holds this split of our store."""
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
        paths = {}
        for number, name in enumerate(names):
            paths[name] = ours
            if not CONTAINERS[name].reads_our_store:
                paths[name] = Path(folder, str(number))
                contestant.write(name, paths[name], ours)
        os.sync()
        yield paths


def decoding_us(split: Split) -> float:
    """Processor time of decoding one picture."""
    rows = np.random.default_rng(0).choice(split.usable_rows, N_DECODED)
    pictures = [np.frombuffer(data, np.uint8) for data in split.blobs("image", rows) if data]
    began = time.process_time()
    for picture in pictures:
        cv2.imdecode(picture, cv2.IMREAD_COLOR)
    return (time.process_time() - began) / max(1, len(pictures)) * 1e6


if __name__ == "__main__":
    main()
