"""Find the byte at which a pickle goes wrong, by reading it again one opcode at a time.

The fast reading knows what went wrong but not where: the C unpickler keeps its position to
itself. Here it is fed opcode by opcode, and each opcode's offset is noted in memory shared with
the parent, so that even a crash or a killed loop leaves its address.
"""

from __future__ import annotations

import mmap
import pickletools
import struct
from pathlib import Path

from errors import SourceError
from pipeline.unpickling.guard import Death, GuardedChild, Limits
from pipeline.unpickling.unpickler import RestrictedUnpickler, Unreadable, unreadable

_OFFSET = struct.Struct("=q")
_FRAME, _FRAME_HEADER = 0x95, 8
_SMALL = 1 << 20  # bytes: reading all opcodes one by one takes a second at most

# How many bytes follow each opcode: a number, a count of lines, or the size of a length prefix.
_FIXED: dict[int, int] = {}
_LINES: dict[int, int] = {}
_PREFIXED: dict[int, int] = {}
for _opcode in pickletools.opcodes:
    _code, _argument = ord(_opcode.code), _opcode.arg
    if _argument is None:
        _FIXED[_code] = 0
    elif _argument.n >= 0:
        _FIXED[_code] = _argument.n
    elif _argument.n == pickletools.UP_TO_NEWLINE:
        _LINES[_code] = 2 if "pair" in _argument.name else 1
    else:
        _PREFIXED[_code] = {
            pickletools.TAKEN_FROM_ARGUMENT1: 1,
            pickletools.TAKEN_FROM_ARGUMENT4: 4,
            pickletools.TAKEN_FROM_ARGUMENT4U: 4,
            pickletools.TAKEN_FROM_ARGUMENT8U: 8,
        }[_argument.n]


def source_error(path: Path, data: mmap.mmap, problem: Unreadable) -> SourceError:
    """`problem` with its place in the file, in the user's words."""
    offset = problem.offset
    if offset is None:
        offset, found = locate(data)
        # Read opcode by opcode, the first problem of the file is the first that is met. But a
        # search that runs out of time or memory itself knows only how far it came.
        if found is not None and not found.died:
            problem = found
    if problem.asked_for is not None:
        return SourceError(
            f"the pickle asks for {problem.asked_for}, which was refused: {problem.reason}",
            where=f"{path}, byte {offset}",
            cause="not a PosePile data set, or one that was tampered with; nothing of it was run",
        )
    cause = "not a PosePile data set, or damaged"
    if "cut off" in problem.reason:
        cause = f"an interrupted copy or download: the file ends at byte {len(data)}"
    return SourceError(
        f"cannot read the annotations: {problem.reason}",
        where=f"{path}, byte {offset} of {len(data)}",
        cause=cause,
        next_command="make the file again, or copy it again and compare the sizes",
    )


def locate(data: mmap.mmap) -> tuple[int, Unreadable | None]:
    """Offset of the opcode at which reading ends too early, and why if that can be told.

    (len(data), None) if the pickle can be read to its end.
    """
    step_from = 0
    if len(data) > _SMALL:
        # First find the frame, at nearly full speed, then the opcode within it.
        step_from, problem = _search(data, step_from=len(data))
        if problem is None:
            return step_from, None
    return _search(data, step_from=step_from)


def _search(data: mmap.mmap, *, step_from: int) -> tuple[int, Unreadable | None]:
    size = len(data)
    with mmap.mmap(-1, _OFFSET.size) as shared:
        limits = Limits(memory_bytes=(256 << 20) + 24 * size, cpu_seconds=0.4 + size / 4e6)
        answer = GuardedChild(lambda: _read_slowly(data, shared, step_from), limits).answer()
        offset: int = _OFFSET.unpack_from(shared)[0]
    if isinstance(answer, Death):
        return offset, Unreadable(answer.reason, died=True)
    if not answer:
        return size, None
    asked_for, _, reason = answer.decode().partition("\n")
    return offset, Unreadable(reason, asked_for=asked_for or None)


def _read_slowly(data: mmap.mmap, shared: mmap.mmap, step_from: int) -> bytes:
    """What goes wrong, as `asked_for` and reason on two lines; nothing if nothing does."""
    stream = _OpcodeStream(data, shared, step_from)
    try:
        RestrictedUnpickler(stream).load()
        if stream.overlong_frame is not None:
            _OFFSET.pack_into(shared, 0, stream.overlong_frame)
            raise Unreadable("the pickle is cut off inside a frame")
    except Exception as error:  # noqa: BLE001  # as in unpickle
        problem = unreadable(error)
        return f"{problem.asked_for or ''}\n{problem.reason}".encode()
    return b""


class _OpcodeStream:
    """Hands out single opcodes, announcing the offset of each.

    Frames, which the unpickler would read in one go, are handed out whole before `step_from` and
    pretended to be empty from there on, so that their opcodes come one by one.
    """

    def __init__(self, data: mmap.mmap, shared: mmap.mmap, step_from: int) -> None:
        self._data = data
        self._shared = shared
        self._step_from = step_from
        self._position = 0
        self._next_opcode = 0
        self._opcode = 0
        self.overlong_frame: int | None = None

    def read(self, n_bytes: int, /) -> bytes:
        start = self._position
        if start >= self._next_opcode:
            _OFFSET.pack_into(self._shared, 0, start)
            self._opcode = start
            self._next_opcode = self._end_of_opcode(start)
        chunk = self._data[start : start + n_bytes]
        self._position += len(chunk)
        if n_bytes == _FRAME_HEADER and start == self._opcode + 1 and self._is_frame():
            return self._enter_frame(chunk)
        return chunk

    def readline(self) -> bytes:
        start = self._position
        self._position = self._end_of_line(start)
        return self._data[start : self._position]

    def _is_frame(self) -> bool:
        return self._data[self._opcode] == _FRAME and self._position == self._next_opcode

    def _enter_frame(self, header: bytes) -> bytes:
        length = int.from_bytes(header, "little")
        if length > len(self._data) - self._position:
            self.overlong_frame = self._opcode
        elif self._opcode < self._step_from:
            self._next_opcode += length
            return header
        return bytes(_FRAME_HEADER)

    def _end_of_opcode(self, start: int) -> int:
        """Where the opcode at `start` and its argument end, or the end of the file."""
        code = self._data[start] if start < len(self._data) else 0
        after = start + 1
        if code in _PREFIXED:
            width = _PREFIXED[code]
            length = int.from_bytes(self._data[after : after + width], "little")
            return min(after + width + length, len(self._data))
        for _ in range(_LINES.get(code, 0)):
            after = self._end_of_line(after)
        return min(after + _FIXED.get(code, 0), len(self._data))

    def _end_of_line(self, start: int) -> int:
        newline = self._data.find(b"\n", start)
        return len(self._data) if newline < 0 else newline + 1
