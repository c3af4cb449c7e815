"""The C unpickler, with every global replaced by its stand-in or refused."""

from __future__ import annotations

import copyreg
import gc
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from mmap import mmap
from typing import NoReturn, Protocol

from pipeline.unpickling.allowlist import ALLOWED
from pipeline.unpickling.source_file import header_problem
from pipeline.unpickling.standins import Refusal


class Unreadable(Exception):  # noqa: N818  # becomes a SourceError once the place is known
    """A pickle could not be read to its end.

    Attributes:
        reason: what happened, in words.
        asked_for: the refused global, `module.name`, if that was it.
        offset: the byte, where it is already known.
        died: whether the reading process did not live to tell.
    """

    def __init__(
        self,
        reason: str,
        *,
        asked_for: str | None = None,
        offset: int | None = None,
        died: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.asked_for = asked_for
        self.offset = offset
        self.died = died


class ByteStream(Protocol):
    """What the unpickler reads from (it also uses `peek` where there is one)."""

    def read(self, n_bytes: int, /) -> bytes | memoryview: ...

    def readline(self) -> bytes: ...


class RestrictedUnpickler(pickle.Unpickler):
    """Resolves nothing: a global is in the allow-list or it ends the reading."""

    def __init__(self, stream: ByteStream) -> None:
        # Python 2's strings, which today's Python cannot write, are bytes in disguise:
        # reading them as latin-1 from the start is what the usual second attempt amounts to.
        super().__init__(stream, encoding="latin1")  # type: ignore[arg-type]
        self.modules: set[str] = set()

    def find_class(self, module: str, name: str) -> object:
        self.modules.add(module)
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise Refusal(
                printable(f"{module}.{name}"), "not on the list of PosePile's classes"
            ) from None

    def persistent_load(self, identifier: object) -> NoReturn:
        raise Refusal("a persistent id", "no PosePile data set has any")


@dataclass(frozen=True, slots=True)
class Unpickled:
    """An object graph of stand-ins and plain Python objects.

    Attributes:
        root: the one object of the file.
        size: bytes of the file.
        protocol: of the pickle, 2 to 5.
        modules: the modules that the file names.
        unpickler: spent, but its memo holds every object: letting go of it takes as long as a
            tenth of the reading.
    """

    root: object
    size: int
    protocol: int
    modules: frozenset[str]
    unpickler: RestrictedUnpickler


def unpickle(data: mmap | bytes) -> Unpickled:
    """Read a whole pickle.

    The cyclic garbage collector pauses: it would walk the growing graph again and again, which
    takes longer than reading it.

    Raises:
        Unreadable: the pickle is refused, cut off, garbled or followed by something else.
    """
    # Extension codes that somebody else has resolved would come from there, unasked.
    copyreg.clear_extension_cache()
    stream = _MappedStream(data)
    unpickler = RestrictedUnpickler(stream)
    header = header_problem(data)
    try:
        with _collector_paused():
            root: object = unpickler.load()
    except Exception as error:  # garbled opcodes raise almost anything
        problem = unreadable(error)
        # Protocols 0 and 1 can name globals too: then that is the news, not the protocol.
        if header and problem.asked_for is None:
            raise Unreadable(header, offset=0) from error
        raise problem from error
    if header:
        raise Unreadable(header, offset=0)
    if stream.position != len(data):
        n_extra = len(data) - stream.position
        raise Unreadable(f"{n_extra} bytes follow the end of the pickle", offset=stream.position)
    return Unpickled(root, len(data), data[1], frozenset(unpickler.modules), unpickler)


def unreadable(error: Exception) -> Unreadable:
    """An exception of the unpickler in words."""
    if isinstance(error, Unreadable):
        return error
    if isinstance(error, Refusal):
        return Unreadable(error.reason, asked_for=error.asked_for)
    if "unregistered extension code" in str(error):
        return Unreadable("no PosePile data set has any", asked_for="an extension code")
    if isinstance(error, MemoryError):
        return Unreadable("it asks for more memory than a data set of its size can need")
    if isinstance(error, EOFError) or "truncated" in str(error) or "exhausted" in str(error):
        return Unreadable("the pickle is cut off")
    return Unreadable(f"the pickle is garbled ({type(error).__name__}: {printable(str(error))})")


def printable(text: str) -> str:
    """Text from a hostile file, fit for a terminal: short and without control characters."""
    return text if len(text) <= 200 and text.isprintable() else repr(text[:200])


class _MappedStream:
    """The whole file as one prefetched buffer, which the unpickler then parses in place."""

    def __init__(self, data: mmap | bytes) -> None:
        self._view = memoryview(data)
        self.position = 0

    def peek(self, n_bytes: int, /) -> memoryview:
        return self._view[self.position :]

    def read(self, n_bytes: int, /) -> memoryview:
        """Also how the unpickler says, at the end, how much of the buffer it has used."""
        chunk = self._view[self.position : self.position + n_bytes]
        self.position += len(chunk)
        return chunk

    def readline(self) -> bytes:
        """Only called when no line end is left in the buffer."""
        return b""


@contextmanager
def _collector_paused() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
