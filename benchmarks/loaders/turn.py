"""One loader's turn, in a process of its own: containers written, pictures proven, batches taken.

The clock runs while the loader does: batches are taken before it starts and after it stops, so that
at both ends as many are in the making. Every picture handed out goes into the checksum.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.loaders import LOADERS, WORKERS, Task, container_of
from benchmarks.measuring import peak_mib

ROOT = Path(__file__).resolve().parent.parent.parent
UNCOUNTED = WORKERS  # batches before and after those that count
MIB = 1 << 20


def measure(loader: str, task: Task) -> dict[str, Any]:
    """Figures of one loader; `benchmarks/loading.py` says which."""
    return _apart("measure", loader, task)


def write(loader: str, task: Task) -> None:
    """Have the container of a loader written."""
    _apart("write", loader, task)


def prove(task: Task) -> dict[str, Any]:
    """The checksums that loaders have to come to, see `crops.prove_and_number`."""
    return _apart("prove", "", task)


def _apart(what: str, loader: str, task: Task) -> dict[str, Any]:
    words = json.dumps(dataclasses.asdict(task), default=str)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.loaders.turn", what, loader, words],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    if done.returncode:
        raise RuntimeError(f"{what} {loader} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


# --- in that process -------------------------------------------------------------------------


def _measure(loader: str, task: Task) -> dict[str, Any]:
    from benchmarks.loaders.decoding import checksum

    total, n_examples, n_batches = 0, 0, task.n_batches - 2 * UNCOUNTED
    with contextlib.closing(LOADERS[loader].batches(task)) as batches:
        for images in itertools.islice(batches, UNCOUNTED):
            total += sum(map(checksum, images))
        began, used = time.perf_counter(), _processor_s()
        for images in itertools.islice(batches, n_batches):
            total += sum(map(checksum, images))
            n_examples += len(images)
        wall, processor = time.perf_counter() - began, _processor_s() - used
        largest, together = _memory_mib()
        for images in batches:
            total += sum(map(checksum, images))
    return {
        "wall_ms": wall / n_examples * 1e3,
        "cpu_ms": processor / n_examples * 1e3,
        "peak_mib": largest,
        "all_mib": together,
        "checksum": total,
    }


def _processor_s() -> float:
    """Processor time of this process and all that it has started, alive or not."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    used = sum(r.ru_utime + r.ru_stime for r in map(resource.getrusage, kinds))
    for process in psutil.Process().children(recursive=True):
        used += sum(process.cpu_times()[:4])  # its own, and that of its children that have ended
    return used


def _memory_mib() -> tuple[float, float]:
    """The most that a process has taken, and what all take now, what they share counted once."""
    largest, together = 0.0, 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        largest = max(largest, peak_mib(process.pid))
        together += process.memory_full_info().pss / MIB
    return largest, together


def _write(loader: str, task: Task) -> dict[str, Any]:
    from benchmarks.loaders.crops import examples_to_write

    chosen = LOADERS[loader]
    container = container_of(chosen, batch_size=task.batch_size)
    container.write(task.folder / chosen.container, examples_to_write(task))
    return {}


def main(what: str, loader: str, words: str) -> None:
    told = json.loads(words)
    task = Task(**told | {name: Path(told[name]) for name in ("stores", "body", "folder")})
    if what == "prove":
        from benchmarks.loaders.crops import prove_and_number

        found = prove_and_number(task)
    else:
        found = {"measure": _measure, "write": _write}[what](loader, task)
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
