"""Run a function in a forked child that may crash, hang or exhaust its memory harmlessly.

A fork starts in milliseconds and inherits the mapped file and every import. The child never
touches what it shares with the parent (no Python-level exit handlers, no inherited buffers), and
dies with it: an orphan would go on holding the parent's locks.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import os
import resource
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
# Looked up once, here: a child that reads somebody's file looks nothing up.
_prctl = getattr(ctypes.CDLL(None), "prctl", None)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child may use.

    Attributes:
        memory_bytes: address space on top of what the parent has mapped already.
        cpu_seconds: processor time; the clock on the wall would punish busy machines.
    """

    memory_bytes: int
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Death:
    """A child that ended without an answer."""

    signal: int  # 0: it exited by itself

    @property
    def reason(self) -> str:
        """What that usually means."""
        match self.signal:
            case signal.SIGPROF:
                return "it takes more processor time than a data set of its size can need"
            case signal.SIGSEGV:
                return "it crashes the unpickler (nesting without end, most likely)"
            case signal.SIGBUS:
                return "the file shrank while it was being read"
            case signal.SIGKILL:
                return "the reading process was killed, by hand or for want of memory"
            case 0:
                return "the reading process ended without an answer"
            case other:
                return f"the reading process died of {signal.Signals(other).name}"


class GuardedChild:
    """A function running in a limited child; `answer()` waits for the bytes it returns.

    On Linux the child is killed when the thread that made it ends.
    """

    def __init__(self, work: Callable[[], bytes], limits: Limits) -> None:
        reader, writer = os.pipe()
        self._reader = reader
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            _run_child(work, limits, writer, parent)  # never returns
        os.close(writer)

    def answer(self) -> bytes | Death:
        """What `work` returned, or how the child died. To be called once."""
        try:
            with os.fdopen(self._reader, "rb") as pipe:
                answer = pipe.read()
        except BaseException:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            raise
        _, status = os.waitpid(self._pid, 0)
        if os.WIFSIGNALED(status):
            return Death(os.WTERMSIG(status))
        return answer if os.WEXITSTATUS(status) == 0 else Death(0)


def limit_cpu(seconds: float) -> None:
    """Let this process die of SIGPROF after that much more processor time."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, seconds)


def _run_child(work: Callable[[], bytes], limits: Limits, writer: int, parent: int) -> None:
    code = 1
    try:
        _die_with(parent)
        gc.disable()
        faulthandler.disable()  # a crash is an expected answer, not news for the terminal
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        silence = os.open(os.devnull, os.O_RDWR)
        for standard_stream in range(3):
            os.dup2(silence, standard_stream)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _limit_memory(limits.memory_bytes)
        limit_cpu(limits.cpu_seconds)
        answer = memoryview(work())
        while answer:
            answer = answer[os.write(writer, answer) :]
        code = 0
    finally:
        os._exit(code)  # nothing may unwind into the parent's copied frames


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends."""
    if _prctl is not None:  # only Linux can
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before we could ask
        os._exit(1)


def _limit_memory(extra_bytes: int) -> None:
    statm = Path("/proc/self/statm")
    if not statm.exists():  # macOS neither tells nor enforces it
        return
    mapped = int(statm.read_bytes().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = mapped + extra_bytes
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
