"""The training loader against its limit and against other loaders.

    make setup-bench && .venv-bench/bin/python benchmarks/loading.py STORES BODY [--rounds R]
        [--batches B] [--only LOADER ...] [--json FILE] [--plots FOLDER]

STORES is the folder of the prepared stores, BODY the canonical body (data/stores,
data/sample/body.npz). Shuffled, decoded, augmented training batches of 148 examples. Every
contestant runs in a process of its own with two threads or worker processes, they take turns, and
each is asked for the same number of batches, after two and before another two that do not count.
Every picture handed out goes into a checksum, in every run; whoever comes to another one fails.

* *loader limit*: our loader and decoding and warping alone, of the very pictures of its batches,
  from memory, by as many threads, in the sample preset (64 px), in the published one (256 px)
  without changes of appearance, and with them; there the limit makes these changes too.
* *loaders*: 256 px, without changes of appearance. The peers are given each crop ready made, beside
  the encoded picture or, where they read our stores, in memory; so they have no geometry to compute
  and no annotation to move, and call one and the same function to decode and warp.

`cpu_ms` is the processor time per example of the process and its workers; `peak_mib` the most
memory that one process took, `all_mib` what all of them take together while they run, what they
share counted once. `wall_share` and `cpu_share` are the limit's time as a part of the loader's, of
the same round.

tf.data and WebDataset shuffle within a buffer of 1,000 examples (and shards), all others reach
every example. Grain over ArrayRecord takes less memory than ours, which holds all annotations, too,
and the code that computes with them; that is a part of the difference, not all. One crop in a
hundred, which looks behind its picture's camera, only ours renders as it should, by maps of
positions; the peers warp it by a homography, too.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.loaders import LIMIT, LOADERS, OURS, Task, turn
from benchmarks.loaders.crops import PRESETS, published_shape
from benchmarks.measuring import add_outputs, present, spread

Runs = Mapping[str, Sequence[Mapping[str, Any]]]
_, PUBLISHED_GEOMETRY, _ = PRESETS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("stores", type=Path)
    parser.add_argument("body", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=12)
    parser.add_argument("--only", nargs="*", default=list(LOADERS), choices=list(LOADERS))
    add_outputs(parser)
    arguments = parser.parse_args()
    n_batches, (batch_size, side) = arguments.batches + 2 * turn.UNCOUNTED, published_shape()
    stores, body = arguments.stores.resolve(), arguments.body.resolve()
    with tempfile.TemporaryDirectory() as folder:
        task = Task(stores, body, Path(folder), PUBLISHED_GEOMETRY, n_batches, batch_size, side)
        limits = [against_limit(replace(task, preset=p), arguments.rounds) for p in PRESETS]
        bars = ("limit_cpu_ms", "loader_cpu_ms", "cpu_share")
        present("loader limit", limits, arguments, bars=bars)
        names = list(dict.fromkeys([LIMIT, *arguments.only]))
        peers = against_peers(names, task, arguments.rounds)
        bars = ("examples_per_s", "cpu_ms", "all_mib")
        present("loaders", peers, arguments, bars=bars)


def against_limit(task: Task, rounds: int) -> dict[str, Any]:
    """The row of one preset."""
    runs = interleaved([LIMIT, OURS], task, rounds)
    require_checksums(runs, dict.fromkeys(runs, runs[LIMIT][0]["checksum"]))
    return {
        "preset": task.preset,
        "limit_per_s": spread([1e3 / run["wall_ms"] for run in runs[LIMIT]]),
        "loader_per_s": spread([1e3 / run["wall_ms"] for run in runs[OURS]]),
        "limit_cpu_ms": spread([run["cpu_ms"] for run in runs[LIMIT]]),
        "loader_cpu_ms": spread([run["cpu_ms"] for run in runs[OURS]]),
        "wall_share": shares(runs, OURS, "wall_ms"),
        "cpu_share": shares(runs, OURS, "cpu_ms"),
        "peak_mib": spread([run["peak_mib"] for run in runs[OURS]]),
    }


def against_peers(names: Sequence[str], task: Task, rounds: int) -> list[dict[str, Any]]:
    """A row for every loader, the limit first."""
    proven = turn.prove(task)
    for name in names:
        if LOADERS[name].container:
            turn.write(name, task)
    runs = interleaved(names, task, rounds)
    kinds = {name: "ours" if LOADERS[name].is_ours else "theirs" for name in names}
    require_checksums(runs, {name: proven[kind] for name, kind in kinds.items()})
    return [
        {
            "loader": name,
            "examples": (task.n_batches - 2 * turn.UNCOUNTED) * task.batch_size,
            "wall_ms": spread([run["wall_ms"] for run in found]),
            "examples_per_s": spread([1e3 / run["wall_ms"] for run in found]),
            "cpu_ms": spread([run["cpu_ms"] for run in found]),
            "wall_share": shares(runs, name, "wall_ms"),
            "cpu_share": shares(runs, name, "cpu_ms"),
            "peak_mib": spread([run["peak_mib"] for run in found]),
            "all_mib": spread([run["all_mib"] for run in found]),
        }
        for name, found in runs.items()
    ]


def interleaved(names: Sequence[str], task: Task, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """All runs of rounds in which every contestant runs once."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for number in range(rounds):
        # Whoever comes second finds the caches warm: turn about.
        for name in names[:: -1 if number % 2 else 1]:
            runs[name].append(turn.measure(name, task))
    return runs


def require_checksums(runs: Runs, expected: Mapping[str, int]) -> None:
    """Accept only runs that handed out the pictures that were asked for, each once.

    Raises:
        RuntimeError: a loader handed out others.
    """
    for name, found in runs.items():
        if any(run["checksum"] != expected[name] for run in found):
            raise RuntimeError(f"{name} hands out other pictures than were asked for")


def shares(runs: Runs, name: str, figure: str) -> dict[str, float]:
    """The limit's time as a part of the loader's, by rounds."""
    pairs = zip(runs[LIMIT], runs[name], strict=True)
    return spread([limit[figure] / run[figure] for limit, run in pairs])


if __name__ == "__main__":
    main()
