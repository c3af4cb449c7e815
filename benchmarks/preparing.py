"""`prepare --no-images` against plain `pickle.load` of the same file.

    python benchmarks/preparing.py FOLDER [--rounds R] [--json FILE]

FOLDER holds the five pickles; if they are not there, the script makes them, at the counts of a real
installation. In turn, each in a fork of this process, which has done every import already, so that
neither start-up nor imports are in any figure (a fork itself takes milliseconds):

* `pickle.load` with ordinary classes, as everybody does, which only has objects in memory then;
* the whole of `prepare --no-images` into an empty cache: read safely, convert, build, publish;
* the same command again, which finds everything done;
* a `sync` of the file system after writing as many files, alone: what the disk asks for, now.

Besides the ratio of medians, that of the shortest times: other programs only ever add. And that of
processor times, which two cores can halve at best.
"""

from __future__ import annotations

import argparse
import os
import pickle
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2  # noqa: F401 - imported before the clock starts

from benchmarks.measuring import (
    median,
    ordinary_classes,
    print_table,
    runs_in_turn,
    save_json,
)
from pipeline.datasets import DATASETS
from stages.prepare.run import prepare
from stages.prepare.settings import DatasetFiles, PrepareSettings

REAL_COUNTS = {
    "agora": 5_264,
    "behave": 37_736,
    "mads": 32_649,
    "coco": 38_592,
    "densepose_coco": 29_586,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--datasets", nargs="*", default=list(REAL_COUNTS))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", DeprecationWarning)  # of NumPy 1's names in pickles
    if not all((arguments.folder / d.file_name).exists() for d in DATASETS.values()):
        make_real_counts(arguments.folder)
    rows = [measure(name, arguments.folder, arguments.rounds) for name in arguments.datasets]
    print_table("prepare --no-images against pickle.load, medians", rows)
    save_json(arguments.json, "preparing", rows)


def make_real_counts(folder: Path) -> None:
    """The five pickles at the counts of a real installation, without pictures."""
    from stages.sample.settings import SampleSettings
    from stages.sample.writing import write_sample

    write_sample(SampleSettings(folder, examples_per_dataset=REAL_COUNTS), with_images=False)


def measure(name: str, folder: Path, rounds: int) -> dict[str, object]:
    path = folder / DATASETS[name].file_name
    # On a disk, not in memory: what is durable costs time.
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as place, ordinary_classes(path):
        home = Path(place)
        settings = PrepareSettings(home / "stores", home / "blocks")
        files = DatasetFiles(path, folder)

        def load() -> None:
            with path.open("rb") as file:
                pickle.load(file)

        def run() -> None:
            prepare(
                name,
                files,
                store=settings.stores / f"{name}.zarr",
                settings=settings,
                n_jobs=2,
                with_images=False,
            )

        def run_fresh() -> None:
            shutil.rmtree(settings.stores, ignore_errors=True)
            shutil.rmtree(settings.cache, ignore_errors=True)
            run()

        contestants = {"load": load, "prepare": run_fresh, "again": run, "sync": lambda: sync(home)}
        runs = runs_in_turn(contestants, rounds=rounds)
    found = {contestant: median(each) for contestant, each in runs.items()}
    load_s, prepare_s = found["load"].wall_s, found["prepare"].wall_s
    best = {contestant: min(run.wall_s for run in each) for contestant, each in runs.items()}
    return {
        "dataset": name,
        "examples": REAL_COUNTS[name],
        "pickle_mb": path.stat().st_size / 1e6,
        "load_s": load_s,
        "prepare_s": prepare_s,
        "again_s": found["again"].wall_s,
        "sync_s": found["sync"].wall_s,
        "ratio": prepare_s / load_s,
        "best_ratio": best["prepare"] / best["load"],
        "processor_ratio": found["prepare"].processor_s / found["load"].processor_s,
        "load_processor_s": found["load"].processor_s,
        "prepare_processor_s": found["prepare"].processor_s,
        "prepare_peak_mib": found["prepare"].peak_mib,
    }


def sync(home: Path) -> None:
    """Write a few hundred small files and make them durable, as a `prepare` does twice."""
    folder = home / "sync"
    folder.mkdir(exist_ok=True)
    for number in range(300):
        (folder / str(number)).write_bytes(os.urandom(50_000))
    os.sync()
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
