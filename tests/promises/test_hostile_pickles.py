"""A hostile, broken or foreign file is refused: nothing of it is resolved, imported or run, and
the error says what, where and at which byte, soon, in bounded memory, without any part of a result.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from errors import SourceError
from pipeline.schema import SPLITS
from pipeline.unpickling import load_annotations, read_isolated
from pipeline.unpickling.unpickler import Unreadable, unpickle
from stages.prepare.transfer import extract_columns
from tests.promises.hostile_corpus import CANARY, Case, corpus, small_genuine_file

ROOT = Path(__file__).resolve().parents[2]
CASES = corpus(Path("/nonexistent"))  # for the names; the bytes are made again with a real folder

# Reads each file given on standard input with an audit hook that survives into forked children
# (it writes to a file descriptor), and prints what happened.
READER = """
import json, os, resource, sys, time
from pathlib import Path
from errors import SourceError
from pipeline.unpickling import Extract, read_isolated
from stages.prepare.transfer import extract_columns

folder, log = Path(sys.argv[1]), os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND)
names = json.load(sys.stdin)
quiet = {"os.fork", "os.putenv", "signal.pthread_kill", "sys._getframe", "builtins.id",
         "mmap.__new__", "resource.setrlimit", "gc.get_referents", "object.__getattr__",
         "cpython.run_command", "os.kill", "os.truncate", "sys.excepthook", "sys.unraisablehook"}
current = ""
def hook(event, arguments):
    if event in quiet:
        return
    if event == "open" and str(arguments[0]) in (current, os.devnull, "/proc/self/statm"):
        return
    if event == "open" and isinstance(arguments[0], int):
        return
    os.write(log, f"{current}: {event} {arguments!r:.200}\\n".encode())
results = {}
read_isolated(folder / names[0], extract_columns)  # what is imported late, is imported now
sys.addaudithook(hook)
for name in names:
    current = str(folder / name)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        read_isolated(Path(current), extract_columns)
        outcome = ["read", ""]
    except SourceError as error:
        outcome = ["refused", str(error)]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    results[name] = [*outcome, seconds, after.ru_maxrss]
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every case, read in one watched process: name -> (outcome, message, CPU s, peak KiB)."""
    folder = tmp_path_factory.mktemp("hostile")
    files = {"genuine.pkl": small_genuine_file()}
    for name, case in corpus(folder).items():
        files[_file_name(name)] = case.data
    for file_name, data in files.items():
        (folder / file_name).write_bytes(data)
    log = folder / "audit.log"
    log.touch()
    process = subprocess.run(
        [sys.executable, "-c", READER, str(folder), str(log)],
        input=json.dumps(list(files)),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    results: dict[str, Any] = json.loads(process.stdout)
    results["audit log"] = log.read_text()
    results["canary"] = (folder / CANARY).exists()
    return results


def _file_name(case_name: str) -> str:
    return case_name.replace("/", "_").replace("\x1b", "_") + ".pkl"


def test_there_are_many_cases_and_the_genuine_file_is_read(outcomes: dict[str, Any]) -> None:
    assert len(CASES) >= 250
    assert outcomes["genuine.pkl"][0] == "read"


@pytest.mark.parametrize("name", CASES)
def test_the_file_is_refused_with_what_and_where(name: str, outcomes: dict[str, Any]) -> None:
    case: Case = CASES[name]
    outcome, message, cpu_seconds, _ = outcomes[_file_name(name)]
    assert outcome == "refused"
    assert f"{_file_name(name)}," in message
    for words in case.says:
        assert words in message
    if case.offset is not None and "inside" not in name:
        assert f"byte {case.offset}" in message
    assert "byte " in message or "split " in message or "attribute " in message
    assert "cannot convert" not in message
    assert "Traceback" not in message
    assert message.isascii() or "neighbour" in name
    assert all(line.isprintable() for line in message.splitlines())
    assert cpu_seconds < 2.5


def test_nothing_was_resolved_imported_or_run(outcomes: dict[str, Any]) -> None:
    assert outcomes["audit log"] == ""
    assert not outcomes["canary"]


def test_memory_stays_bounded(outcomes: dict[str, Any]) -> None:
    peaks = [value[3] for key, value in outcomes.items() if key.endswith(".pkl")]
    assert max(peaks) < 700 * 1024


@pytest.mark.parametrize(
    "name", [name for name, case in CASES.items() if "inside" in name and case.offset]
)
def test_the_offset_inside_a_genuine_file_is_exact(name: str, tmp_path: Path) -> None:
    case = corpus(tmp_path)[name]
    path = tmp_path / "set.pkl"
    path.write_bytes(case.data)
    with pytest.raises(SourceError) as caught:
        load_annotations(path)
    assert caught.value.where == f"{path}, byte {case.offset}"


def test_files_that_are_no_files_are_refused_at_once(tmp_path: Path) -> None:
    fifo, loop = tmp_path / "fifo", tmp_path / "loop"
    os.mkfifo(fifo)
    loop.symlink_to(loop)
    for path in (fifo, loop, tmp_path, tmp_path / "missing.pkl", Path("/dev/null"), Path("a\0b")):
        with pytest.raises(SourceError) as caught:
            read_isolated(path, extract_columns)
        assert caught.value.where == str(path)


def test_a_file_cut_anywhere_is_never_read_in_part() -> None:
    data = small_genuine_file()
    assert unpickle(data).size == len(data)
    for length in range(len(data)):
        with pytest.raises(Unreadable):
            unpickle(data[:length])


def _outcome_of(data: bytes, path: Path) -> str:
    """`read`, or the error's first line; anything but these two fails."""
    path.write_bytes(data)
    try:
        extract = read_isolated(path, extract_columns)
    except SourceError as error:
        assert "cannot convert" not in error.what, error.cause
        assert str(path) in str(error)
        return error.what
    assert {place.partition("/")[0] for place in extract.facts["details/0"]} == set(SPLITS)
    return "read"


def _mutated(data: bytes, generator: random.Random) -> bytes:
    """One to four bytes changed, dropped, doubled, or a stretch moved elsewhere."""
    mutated = bytearray(data)
    for _ in range(generator.randint(1, 4)):
        i = generator.randrange(len(mutated))
        match generator.randrange(6):
            case 0:
                mutated[i] ^= 1 << generator.randrange(8)
            case 1:
                mutated[i] = generator.randrange(256)
            case 2:
                del mutated[i]
            case 3:
                mutated.insert(i, mutated[i])
            case 4:
                mutated[i] = generator.choice(b"\x93R\x81bou(te0112.\x94h")
            case _:
                j = generator.randrange(len(mutated))
                mutated[i : i + 8] = mutated[j : j + 8]
    return bytes(mutated)


def _fuzz(tmp_path: Path, *, n_rounds: int, seed: int) -> None:
    print(f"seed {seed}")
    generator = random.Random(seed)
    data = small_genuine_file()
    for _ in range(n_rounds):
        _outcome_of(_mutated(data, generator), tmp_path / "mutated.pkl")


def test_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    _fuzz(tmp_path, n_rounds=120, seed=1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 10))
def test_many_mutated_files_are_read_or_refused(seed: int, tmp_path: Path) -> None:
    _fuzz(tmp_path, n_rounds=2500, seed=seed)
