"""One container's turn, in a process of its own: write examples, prove to hold them, be measured.

Start-up is measured from before Python starts, so both sides live in this module.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.containers import CONTAINERS, examples_of
from benchmarks.measuring import in_a_process, peak_mib
from cache.reader import Split, Store

N_RANDOM, N_COLD, N_SEQUENTIAL, N_SPLIT = 256, 64, 4, 2
TRUTHS = {np.dtype(bool), np.dtype(np.uint8)}


def prove(container: str, path: Path, ours: Path) -> None:
    """Have a container compare all columns and many examples with what our reader gives.

    Raises:
        RuntimeError: it gives back something else than was written.
    """
    _apart("check", container, path, ours)


def write(container: str, path: Path, ours: Path) -> None:
    """Have a container written that holds a split of our store."""
    _apart("write", container, path, ours)


def measure(container: str, path: Path, n_rows: int) -> dict[str, Any]:
    """Figures of one container that holds so many rows; `benchmarks/reading.py` says which."""
    return _apart("measure", container, path, n_rows)


def _apart(task: str, container: str, path: Path, *details: object) -> dict[str, Any]:
    return in_a_process("benchmarks.contestant", task, container, path, *details, time.time())


# --- in that process -------------------------------------------------------------------------


def _split_at(ours: str) -> Split:
    path = Path(ours)
    return Store.open(path.parent).splits[path.name]


def _write(container: str, path: Path, ours: str) -> dict[str, Any]:
    CONTAINERS[container].write(path, examples_of(_split_at(ours)))
    return {}


def _check(container: str, path: Path, ours: str) -> dict[str, Any]:
    expected = examples_of(_split_at(ours))
    reader = CONTAINERS[container].open(path)
    columns = reader.columns()
    for name, values in expected.arrays.items():
        _compare(container, name, columns[name], values)
    for name in expected.blobs.keys() - {"image"}:
        for row, blob in enumerate(expected.blobs[name]):
            _compare(container, name, bytes(columns[name][row])[: len(blob)], blob)
    n_examples = N_SEQUENTIAL if reader.IS_SEQUENTIAL else N_RANDOM
    for row in range(0, len(expected), max(1, len(expected) // n_examples)):
        example = reader.example(row)
        for name, value in expected.example(row).items():
            _compare(container, name, example[name], value)
    return {}


def _compare(container: str, column: str, found: Any, expected: Any) -> None:
    if isinstance(expected, bytes):
        is_same = found == expected
    else:
        found, expected = np.asarray(found), np.asarray(expected)
        is_same = found.dtype == expected.dtype or {found.dtype, expected.dtype} <= TRUTHS
        is_same &= np.array_equal(found, expected, equal_nan=expected.dtype.kind == "f")
    if not is_same:
        raise RuntimeError(f"{container} gives back another {column} than was written")


def _measure(container: str, path: Path, n_rows: int, began: float) -> dict[str, Any]:
    reader = CONTAINERS[container].open(path)
    reader.example(0)
    found: dict[str, Any] = {"start_s": time.time() - began, "checked": reader.CHECKED}
    n_random, n_cold = (N_SEQUENTIAL,) * 2 if reader.IS_SEQUENTIAL else (N_RANDOM, N_COLD)
    rng = np.random.default_rng(0)
    rows = rng.integers(0, n_rows, n_random).tolist()
    for row in rows[: n_random // 4]:
        reader.example(row)
    for again in ("", "again_"):
        wall, processor = time.perf_counter(), time.process_time()
        for row in rows:
            reader.example(row)
        found[f"{again}us"] = (time.process_time() - processor) / n_random * 1e6
        found[f"{again}wall_us"] = (time.perf_counter() - wall) / n_random * 1e6
    found["mib"] = peak_mib()
    del reader
    forget(path)

    wall = time.perf_counter()
    reader = CONTAINERS[container].open(path)
    for row in rng.integers(0, n_rows, n_cold).tolist():
        reader.example(row)
    found["cold_us"] = (time.perf_counter() - wall) / n_cold * 1e6

    for _ in range(N_SPLIT):  # the first reads cold
        wall, processor = time.perf_counter(), time.process_time()
        reader = CONTAINERS[container].open(path)
        reader.columns()
        found["split_us"] = (time.perf_counter() - wall) / n_rows * 1e6
        found["split_cpu_us"] = (time.process_time() - processor) / n_rows * 1e6
    return found


def forget(path: Path) -> None:
    """Tell the system to drop every file of a folder from the page cache."""
    for file in path.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def main(task: str, container: str, path: str, detail: str, began: str) -> None:
    if task == "measure":
        found = _measure(container, Path(path), int(detail), float(began))
    else:
        found = {"write": _write, "check": _check}[task](container, Path(path), detail)
    print(json.dumps(found), flush=True)
    os._exit(0)  # some leave threads behind that a measurement need not wait for


if __name__ == "__main__":
    main(*sys.argv[1:])
