"""`prepare --no-images` against plain `pickle.load` of the same file.

    python benchmarks/preparing.py FOLDER [--rounds R] [--json FILE] [--plots FOLDER]

FOLDER holds the five pickles; if they are not there, the script makes them, at the counts of a real
installation. In turn, each in a fork of this process, which has done every import already, so that
neither start-up nor imports are in any figure (a fork itself takes milliseconds):

* `pickle.load` with ordinary classes, as everybody does, which only has objects in memory then;
* the whole of `prepare --no-images` into an empty cache: read safely, convert, build, publish;
* the same command again, which finds everything done;
* a `sync` of the file system after writing as many files, alone: what the disk asks for, now.

`of_load` is the ratio to the first, of medians; `best_of_load` that of the shortest times: other
programs only ever add. `cpu_of_load` is that of processor times, which two cores halve at best.
"""

from __future__ import annotations

import argparse
import os
import pickle
import shutil
import statistics
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2  # noqa: F401 - imported before the clock starts

from benchmarks.measuring import (
    Run,
    add_outputs,
    ordinary_classes,
    present,
    runs_in_turn,
    spread,
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
    add_outputs(parser)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", DeprecationWarning)  # of NumPy 1's names in pickles
    if not all((arguments.folder / d.file_name).exists() for d in DATASETS.values()):
        make_real_counts(arguments.folder)
    folder, rounds = arguments.folder, arguments.rounds
    rows = [row for name in arguments.datasets for row in measure(name, folder, rounds)]
    present("preparing", rows, arguments, bars=("wall_s", "cpu_s"))


def make_real_counts(folder: Path) -> None:
    """The five pickles at the counts of a real installation, without pictures."""
    from stages.sample.settings import SampleSettings
    from stages.sample.writing import write_sample

    write_sample(SampleSettings(folder, examples_per_dataset=REAL_COUNTS), with_images=False)


def measure(name: str, folder: Path, rounds: int) -> list[dict[str, object]]:
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

        contestants = {
            "pickle.load": load,
            "poseshard": run_fresh,
            "poseshard again": run,
            "sync": lambda: sync(home),
        }
        runs = runs_in_turn(contestants, rounds=rounds)
    limit = runs["pickle.load"]
    rows = []
    for contestant, found in runs.items():
        figures = {
            "wall_s": spread([run.wall_s for run in found]),
            "cpu_s": spread([run.processor_s for run in found]),
            "mib": max(run.peak_mib for run in found),
        }
        row = {"what": contestant, "dataset": name, "examples": REAL_COUNTS[name], **figures}
        if contestant == "poseshard":
            row["of_load"] = statistics.median(walls(found)) / statistics.median(walls(limit))
            row["best_of_load"] = min(walls(found)) / min(walls(limit))
            row["cpu_of_load"] = min(r.processor_s for r in found) / min(
                r.processor_s for r in limit
            )
        rows.append(row)
    return rows


def walls(runs: Sequence[Run]) -> list[float]:
    return [run.wall_s for run in runs]


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
