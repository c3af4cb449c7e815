"""What grows with the number of examples: start-up, a random example, memory; every container.

    make setup-bench && .venv-bench/bin/python benchmarks/growing.py [--counts 1000 10000 100000]
        [--rounds R] [--only NAME ...] [--json FILE] [--plots FOLDER]

Stores of so many examples, with 3D joints, cameras and boxes drawn at random and pictures of 4 kB,
and the same in every other container. The figures are those of `benchmarks/reading.py`. Thirteen
million rows are simulated by `benchmarks/memory.py`, for ours alone.

Ours opens as quickly, and takes as little memory, however many examples there are. A cold example
is its weakest side, and the more so the more blocks there are: the first one of a block opens a
file for each column and reads its index, where Barecat's records are found through one index.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.containers import CONTAINERS
from benchmarks.measuring import add_outputs, in_a_fork, present
from benchmarks.memory import build, make_pictures
from benchmarks.reading import DECODING, compare

PICTURE_BYTES = 4_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--counts", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(CONTAINERS), choices=list(CONTAINERS))
    add_outputs(parser)
    arguments = parser.parse_args()
    rows = []
    for count in arguments.counts:
        with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
            home = Path(folder)
            make_pictures(home, PICTURE_BYTES)
            in_a_fork(lambda: build(home, count))  # noqa: B023
            rows += compare(home / "s.zarr", arguments.only, arguments.rounds)
    rows = [row for row in rows if row["container"] != DECODING]  # these pictures are none
    for row in rows:
        del row["store"]
    present(
        "growth", rows, arguments, lines=("start_s", "cold_us", "us", "again_us", "split_us", "mib")
    )


if __name__ == "__main__":
    main()
