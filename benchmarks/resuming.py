"""`prepare` with pictures when little or nothing is left to do, at the largest count of a real set.

    python benchmarks/resuming.py FOLDER [--dataset coco] [--rounds R]
        [--json FILE] [--plots FOLDER]

FOLDER holds the five pickles at the counts of a real installation; if they are not there, the
script makes them. Every example gets a small picture, a file of its own.

Whole commands are timed, from the start of Python to its end, in turn:

* *limit*: a Python that imports what `prepare` imports and parses the settings;
* *no-op*: `cli.py prepare` of a store that is up to date;
* *resume*: `cli.py prepare` after a kill that left half of the blocks in the cache, until the first
  byte of a new block is written; the run is killed again then.

The three differ by what the command itself does, so that start-up and imports drop out.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import numpy as np

from benchmarks.measuring import add_outputs, present, spread
from benchmarks.preparing import REAL_COUNTS, make_real_counts
from pipeline.datasets import DATASETS
from stages.prepare.planning import split_sources
from stages.prepare.settings import DatasetFiles
from stages.prepare.source import read_source

ROOT = Path(__file__).resolve().parent.parent
SIDE = 32
IMPORTS = """
import sys; sys.path.insert(0, {root!r})
import cli
from stages.prepare.run import prepare
from stages.prepare.settings import PrepareSettings, dataset_files
from stages.settings import load_section
load_section(PrepareSettings, "prepare")
dataset_files("coco")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dataset", choices=list(REAL_COUNTS), default="coco")
    parser.add_argument("--rounds", type=int, default=5)
    add_outputs(parser)
    arguments = parser.parse_args()
    name = arguments.dataset
    pickle = arguments.folder / DATASETS[name].file_name
    if not pickle.exists():
        make_real_counts(arguments.folder)
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
        home = Path(folder)
        make_pictures(home, name, pickle)
        words = command(home, name, pickle)
        run(words)
        run(words)  # what was written a moment ago was not trusted by its times
        contestants: dict[str, Callable[[], float]] = {
            "limit: imports": lambda: run([sys.executable, "-c", IMPORTS.format(root=str(ROOT))]),
            "no-op": lambda: run(words),
            "resume": lambda: resume(home, words),
        }
        found: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(arguments.rounds):
            for name, work in contestants.items():
                found[name].append(work())
    limit = statistics.median(found["limit: imports"])
    rows = [
        {
            "command": name,
            "dataset": arguments.dataset,
            "examples": REAL_COUNTS[arguments.dataset],
            "wall_s": spread(seconds),
            "beyond_imports_s": statistics.median(seconds) - limit,
        }
        for name, seconds in found.items()
    ]
    present("resuming", rows, arguments, bars=("wall_s",))


def command(home: Path, name: str, pickle: Path) -> list[str]:
    words = [sys.executable, ROOT / "cli.py", "prepare", name, "--annotations", pickle]
    words += ["--images", home / "pictures", "--store", home / "s.zarr", "--cache", home / "c"]
    return list(map(str, words))


def run(words: list[str]) -> float:
    """Seconds that a whole command takes."""
    began = time.perf_counter()
    subprocess.run(words, check=True, capture_output=True)
    return time.perf_counter() - began


def resume(home: Path, words: list[str]) -> float:
    """Seconds until a run that finds half of the blocks writes the first byte of another."""
    kept = home / "kept"
    if not kept.exists():
        shutil.copytree(home / "c", kept, copy_function=os.link)
        for number, record in enumerate(sorted((kept / "blocks").glob("??/*/block.json"))):
            if number % 2:
                shutil.rmtree(record.parent)
    work = home / "resumed"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(kept, work / "c", copy_function=os.link)
    words = list(words)
    words[words.index("--cache") + 1] = str(work / "c")
    words[words.index("--store") + 1] = str(work / "s.zarr")
    began = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    blocks = work / "c" / "blocks"
    while process.poll() is None:
        if any(path.stat().st_size for path in blocks.glob(".tmp-*/*/*")):
            break
        time.sleep(0.002)
    seconds = time.perf_counter() - began
    assert process.poll() is None, "the run ended before it wrote anything"
    process.send_signal(signal.SIGKILL)
    process.wait()
    return seconds


def make_pictures(home: Path, name: str, pickle: Path) -> None:
    """A small picture of its own for every example of a pickle."""
    source = read_source(name, DatasetFiles(pickle, home))
    rng = np.random.default_rng(0)
    for split in source.columns.splits.values():
        for path in split_sources(split, images=home):
            target = home / "pictures" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            noise = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            target.write_bytes(cv2.imencode(".jpg", noise)[1].tobytes())


if __name__ == "__main__":
    main()
