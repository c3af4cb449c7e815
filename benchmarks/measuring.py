"""How everything here is measured and shown: contestants in turn, medians with their spread.

A fork inherits the imports and nobody else's heap. Wall time is taken inside it; processor time and
peak memory are what the kernel says of it and its children.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import pickle
import platform
import resource
import statistics
import subprocess
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


def in_a_process(module: str, *words: object) -> dict[str, Any]:
    """Run a module in a new Python; the last line that it prints is its answer, as JSON.

    Raises:
        RuntimeError: it failed.
    """
    command = [sys.executable, "-m", module, *map(str, words)]
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[2:])} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


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


def spread(values: Sequence[float]) -> dict[str, float]:
    """A figure of a table that was measured several times: median, least and greatest."""
    return {"median": statistics.median(values), "least": min(values), "greatest": max(values)}


def middle(figure: Any) -> float:
    """The median of what `spread` made, or a figure that was measured once."""
    return float(figure["median"] if isinstance(figure, Mapping) else figure)


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """The options of every benchmark that say where its figures go."""
    parser.add_argument("--json", type=Path, help="add the figures to this file")
    parser.add_argument("--plots", type=Path, help="draw them into this folder")


def present(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    arguments: argparse.Namespace,
    *,
    bars: Sequence[str] = (),
    lines: Sequence[str] = (),
) -> None:
    """Print a table, add it to the JSON file and draw some of its columns: `bars`, or `lines` over
    the number of examples.

    The first column tells the rows apart, the second, if it is text, groups them.
    """
    print_table(name, rows)
    save_json(arguments.json, name, rows)
    if arguments.plots is not None and (bars or lines):
        from benchmarks.plotting import plot_bars, plot_lines

        path = arguments.plots / f"{slug(name)}.png"
        if bars:
            plot_bars(path, rows, bars)
        else:
            plot_lines(path, rows, lines)


def slug(name: str) -> str:
    """The name of a table as that of a file."""
    return "_".join("".join(c if c.isalnum() else " " for c in name).split())


def print_table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """A plain table on standard output."""
    print(f"\n{title}")
    names = list(dict.fromkeys(name for row in rows for name in row))
    texts = [[shown(row.get(name, "")) for name in names] for row in rows]
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


def peak_mib(process: int | str = "self") -> float:
    """Peak resident memory of this process or another, since its program or it itself began."""
    for line in Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def shown(value: Any) -> str:
    """A figure as tables show it: three digits, and how far the runs lay apart."""
    if isinstance(value, Mapping) and value["least"] == value["greatest"]:  # measured once
        return shown(value["median"])
    if isinstance(value, Mapping):
        least, greatest = shown(value["least"]), shown(value["greatest"])
        return f"{shown(value['median'])} ({least}-{greatest})"
    if isinstance(value, float) and abs(value) < 1000:
        return f"{value:,.3g}"
    return f"{value:,.0f}" if isinstance(value, float | int) else str(value)


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
