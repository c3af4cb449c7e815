"""How everything here is measured: contestants in turn, each in a fork of its own, medians, ratios.

A fork inherits the imports and nobody else's heap. Wall time is taken inside it; processor time and
peak memory are what the kernel says of it and its children.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import pickle
import platform
import resource
import statistics
import sys
import time
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one contestant: seconds, seconds, mebibytes, and whatever it counted itself."""

    wall_s: float
    processor_s: float
    peak_mib: float
    counted: float


def in_a_fork(work: Callable[[], float | None]) -> Run:
    """Run something in a forked child; what it returns is passed on as `counted`."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reader)
            gc.collect()
            began = time.perf_counter()
            counted = work() or 0.0
            wall = time.perf_counter() - began
            os.write(writer, json.dumps([wall, counted]).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read()
    _, status, used = os.wait4(pid, 0)
    if status != 0:
        raise RuntimeError(f"a contestant failed with status {status}")
    wall, counted = json.loads(answer)
    return Run(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, counted)


def in_turn(
    contestants: Mapping[str, Callable[[], float | None]], *, rounds: int
) -> dict[str, Run]:
    """Medians over rounds in which every contestant runs once."""
    found = runs_in_turn(contestants, rounds=rounds)
    return {name: median(runs) for name, runs in found.items()}


def runs_in_turn(
    contestants: Mapping[str, Callable[[], float | None]], *, rounds: int
) -> dict[str, list[Run]]:
    """All runs of rounds in which every contestant runs once."""
    runs: dict[str, list[Run]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, work in contestants.items():
            runs[name].append(in_a_fork(work))
    return runs


def median(runs: Sequence[Run]) -> Run:
    columns = zip(*(asdict(run).values() for run in runs), strict=True)
    return Run(*(statistics.median(column) for column in columns))


def print_table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """A plain table on standard output."""
    print(f"\n{title}")
    texts = [[_text(value) for value in row.values()] for row in rows]
    names = list(rows[0])
    widths = [max(len(row[i]) for row in [names, *texts]) for i in range(len(names))]
    for row in [names, *texts]:
        print("  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)))


def save_json(path: Path | None, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows to a JSON file, under the name of the benchmark, with the machine they are from."""
    if path is None:
        return
    document = json.loads(path.read_text()) if path.exists() else {}
    document["machine"] = {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "python": platform.python_version(),
    }
    document[name] = list(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")


@contextlib.contextmanager
def ordinary_classes(path: Path) -> Iterator[None]:
    """Make a pickle loadable by plain `pickle.load`, with empty classes for those not installed."""
    made: list[str] = []

    class Finder(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            with contextlib.suppress(ImportError, AttributeError):
                return super().find_class(module, name)
            parts = module.split(".")
            for n in range(1, len(parts) + 1):
                parent = ".".join(parts[:n])
                if parent not in sys.modules:
                    sys.modules[parent] = types.ModuleType(parent)
                    made.append(parent)
            base = dict if name in ("AttrDict", "Dict") else object
            cls = type(name, (base,), {"__module__": module})
            if base is dict:
                cls.__setstate__ = lambda self, state: None  # type: ignore[attr-defined]
            setattr(sys.modules[module], name, cls)
            return cls

    with path.open("rb") as file:
        Finder(file).load()
    gc.collect()
    try:
        yield
    finally:
        for module in made:
            sys.modules.pop(module, None)


def peak_mib() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _text(value: Any) -> str:
    return f"{value:,.3g}" if isinstance(value, float) and value < 1000 else _whole(value)


def _whole(value: Any) -> str:
    return f"{value:,.0f}" if isinstance(value, float | int) else str(value)


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
