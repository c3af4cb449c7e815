"""Whatever happens in the reading process, its parent gets an answer or an error."""

from __future__ import annotations

import os
import resource
import select
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from errors import SourceError
from pipeline.unpickling import Extract, PickledDataset, begin_read, guard, read_isolated
from pipeline.unpickling.guard import Death, GuardedChild, Limits
from tests.pipeline.unpickling import era_pickles as genuine
from tests.pipeline.unpickling.era_pickles import ERAS

LIMITS = Limits(memory_bytes=64 << 20, cpu_seconds=0.2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    era = ERAS[-2]
    path = tmp_path / "set.pkl"
    path.write_bytes(genuine.pickled(genuine.dataset3d(era), era))
    return path


def _spin() -> bytes:
    while True:
        pass


def _hoard() -> bytes:
    return bytes(1 << 30)


def _shoot(number: int) -> bytes:
    os.kill(os.getpid(), number)
    return b""


def test_an_answer_of_any_length_comes_back() -> None:
    for length in (0, 1, 1 << 20):
        assert GuardedChild(lambda n=length: bytes(n), LIMITS).answer() == bytes(length)  # type: ignore[misc]


def test_a_loop_without_end_is_ended() -> None:
    death = GuardedChild(_spin, LIMITS).answer()
    assert death == Death(signal.SIGPROF)
    assert "processor time" in death.reason


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can")
def test_the_child_dies_with_its_parent() -> None:
    """The pipe stands for the store's lock: whoever lives holds it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:

        def say_and_spin() -> bytes:
            os.write(writer, str(os.getpid()).encode())
            return _spin()

        GuardedChild(say_and_spin, Limits(memory_bytes=64 << 20, cpu_seconds=120))
        signal.pause()
    os.close(writer)
    child = int(os.read(reader, 32))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    was_closed = bool(select.select([reader], [], [], 20)[0]) and os.read(reader, 1) == b""
    os.close(reader)
    if not was_closed:
        os.kill(child, signal.SIGKILL)
    assert was_closed


def test_a_child_whose_parent_ended_before_it_began_ends_too() -> None:
    pid = os.fork()
    if pid == 0:
        guard._die_with(parent=os.getppid() + 1)
        os._exit(77)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


def test_a_crash_is_survived(capfd: pytest.CaptureFixture[str]) -> None:
    for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGKILL):
        death = GuardedChild(lambda n=number: _shoot(n), LIMITS).answer()  # type: ignore[misc]
        assert death == Death(number)
        assert death.reason
    assert capfd.readouterr() == ("", "")


def test_memory_is_limited_in_the_child_alone(capfd: pytest.CaptureFixture[str]) -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    assert GuardedChild(_hoard, LIMITS).answer() == Death(0)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert capfd.readouterr() == ("", "")


def test_no_process_and_no_descriptor_is_left_behind(path: Path) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    for _ in range(3):
        read_isolated(path, lambda dataset: Extract({"a": np.zeros(3)}))
        GuardedChild(_hoard, LIMITS).answer()
    assert descriptors() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_arrays_come_home_equal_writable_and_of_their_type(path: Path) -> None:
    generator = np.random.default_rng(0)
    arrays = {
        "large": generator.random((300, 1000)),
        "bytes": np.frombuffer(b"abc", np.uint8),
        "empty": np.zeros((0, 7), np.float32),
        "flags": np.array([True, False]),
        "scalar": np.array(5, np.int16),
        "strided": np.arange(20)[::3],
        "fortran": np.asfortranarray(generator.random((3, 4))),
    }
    facts = {"text": "größe", "list": [1, None, True]}
    home = read_isolated(path, lambda dataset: Extract(arrays, facts))
    assert home.facts == facts
    assert list(home.arrays) == list(arrays)
    for name, array in arrays.items():
        assert home.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(home.arrays[name], array)
        home.arrays[name][...] = 0


def test_the_parent_is_free_until_it_asks(path: Path) -> None:
    first = begin_read(path, lambda dataset: Extract({}, {"n": len(dataset.examples["train"])}))
    second = begin_read(path, lambda dataset: Extract({}, {"n": len(dataset.examples["test"])}))
    assert second.result().facts == {"n": 4}
    assert first.result().facts == {"n": 3}


def test_a_mistake_in_the_conversion_is_told_with_its_place(path: Path) -> None:
    def convert(dataset: PickledDataset) -> Extract:
        raise KeyError("no such column")

    with pytest.raises(SourceError, match="cannot convert") as caught:
        read_isolated(path, convert)
    assert "KeyError" in str(caught.value.cause)
    assert any("in convert" in note for note in caught.value.__notes__)


def test_an_error_of_the_conversion_comes_home_with_every_line(path: Path) -> None:
    def convert(dataset: PickledDataset) -> Extract:
        raise SourceError("what", where="where", cause="cause", next_command="next")

    with pytest.raises(SourceError) as caught:
        read_isolated(path, convert)
    assert str(caught.value) == str(
        SourceError("what", where="where", cause="cause", next_command="next")
    )


def test_only_numbers_leave_the_child(path: Path) -> None:
    for array in (np.array(["text"]), np.array([object()])):
        with pytest.raises(SourceError, match="cannot convert"):
            read_isolated(path, lambda dataset, a=array: Extract({"a": a}))  # type: ignore[misc]
