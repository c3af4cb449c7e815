"""Content-addressed blocks: built whole under a key of their content, linked into stores later.

A block is a run of consecutive rows of one split. Its key is a digest of everything its bytes
depend on: the schema and layout, the rows' annotation arrays and the contents of their files. The
same key is the same bytes, so a block that exists is never built again, by whomever and whenever.

Directory of a cache:

    blocks/<key[:2]>/<key>/<column>     the shard of one column
    blocks/<key[:2]>/<key>/block.json   its record: lengths, digests, rejected rows
    blocks/.tmp-*/                      a block being built
    stat/<dataset>                      digests of source files by stat
    stores/                             which stores use this cache, for gc
    lock                                shared by builders, exclusive to gc
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cache import chunks
from cache import syscalls as seam
from cache.files import remove_tree, sync_directory, temporary_name, write_file, writing
from cache.layout import ColumnLayout, to_json
from cache.manifest import USABLE, Rejection, shard_from_json
from cache.shards import ShardRecord, ShardWriter, write_shard
from cache.stat_cache import FileStat, StatCache

RECORD_NAME = "block.json"
STATUS_COLUMN = "status"
# Every file of a finished block gets this modification time (1980-01-01), so that a later write
# shows without reading the file: a block whose files bear another time is checked by digest.
SEALED_NS = 315_532_800 * 10**9

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class FileColumn:
    """A column whose rows are the bytes of files, each zero-padded to the width of the row.

    Attributes:
        column: its name.
        length_column: the column that tells how many bytes of a row are the file.
        root: the folder that the paths are relative to.
        missing_status: given to a row whose file is not there.
        check: tells the status of a file from its bytes (0: usable) and, if not usable, why.
    """

    column: str
    length_column: str
    root: Path
    missing_status: int
    check: Callable[[bytes], tuple[int, str]]


@dataclass(frozen=True, slots=True)
class BlockSource:
    """Everything that the bytes of one block depend on.

    Attributes:
        layouts: of every column, in order.
        arrays: the rows of every column that is not read from files; rows whose `status` is not 0
            are stored as fill values, whatever is in them.
        sources: where each row came from, relative to the images' folder; named in rejections.
        details: why a row is rejected already, by row.
        file_column: the column that is read from files, None to leave it empty.
        parameters: whatever else belongs into the key (schema version, settings).
    """

    layouts: Sequence[ColumnLayout]
    arrays: Arrays
    sources: Sequence[str]
    details: Mapping[int, str]
    file_column: FileColumn | None
    parameters: Mapping[str, Any]

    @property
    def n_rows(self) -> int:
        return len(self.arrays[STATUS_COLUMN])


@dataclass(frozen=True, slots=True)
class Block:
    """A finished block in the cache."""

    key: str
    directory: Path
    shards: Mapping[str, ShardRecord | None]
    rejections: tuple[Rejection, ...]
    was_cached: bool


class BlockCache:
    """The blocks below one directory.

    With `must_rebuild`, blocks that are there are built anew and replaced.
    """

    def __init__(self, directory: Path, *, must_rebuild: bool = False) -> None:
        self.directory = directory
        self._must_rebuild = must_rebuild
        self.blocks_directory = directory / "blocks"

    def block_directory(self, key: str) -> Path:
        return self.blocks_directory / key[:2] / key

    def find(self, key: str) -> Block | None:
        """The block of this key, if it is there whole; a damaged one is removed."""
        directory = self.block_directory(key)
        try:
            record = json.loads((directory / RECORD_NAME).read_bytes())
            shards = {name: shard_from_json(r) for name, r in record["shards"].items()}
            rejections = tuple(Rejection(*rejected) for rejected in record["rejections"])
            is_whole = record["key"] == key and _files_are_whole(directory, shards)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            is_whole = False
        if is_whole:
            return Block(key, directory, shards, rejections, was_cached=True)
        if directory.exists():
            remove_tree(directory)
        return None

    def build(self, source: BlockSource, stats: StatCache) -> Block:
        """The block of this content, from the cache or built now.

        Raises:
            StoreError: the cache cannot be written (disk full, no permission).
        """
        identities = _identities_by_stat(source, stats)
        if identities is not None and not self._must_rebuild:
            cached = self.find(_block_key(source, identities))
            if cached is not None:
                return cached
        with writing(self.blocks_directory):
            self.blocks_directory.mkdir(parents=True, exist_ok=True)
            temporary = temporary_name(self.blocks_directory)
            seam.syscalls.mkdir(temporary)
            try:
                return self._build_in(temporary, source, stats)
            finally:
                if temporary.exists():
                    remove_tree(temporary)

    def _build_in(self, temporary: Path, source: BlockSource, stats: StatCache) -> Block:
        status = np.array(source.arrays[STATUS_COLUMN])
        details = dict(source.details)
        arrays = dict(source.arrays)
        shards: dict[str, ShardRecord | None] = {}
        identities: list[bytes] = [b""] * source.n_rows
        files = source.file_column
        if files is not None:
            layout = next(lay for lay in source.layouts if lay.name == files.column)
            lengths = np.zeros(source.n_rows, dtype=np.int32)
            writer = ShardWriter(temporary / files.column, layout)
            try:
                for row in np.flatnonzero(status == USABLE).tolist():
                    read = _read_file(files, source.sources[row], stats)
                    identities[row] = read.identity
                    if read.status != USABLE:
                        status[row], details[row] = read.status, read.detail
                    elif len(read.data) > layout.row_bytes:
                        # It grew since its size was taken: an honest error beats a cut picture.
                        raise OSError(
                            None,
                            "the file grew while it was being read",
                            str(files.root / source.sources[row]),
                        )
                    else:
                        lengths[row] = len(read.data)
                        writer.put(row, chunks.encode_padded_file(read.data, layout.row_bytes))
                shards[files.column] = writer.finish()
            finally:
                writer.close()
            arrays[files.length_column] = lengths
        key = _block_key(source, identities)
        if self._must_rebuild:
            remove_tree(self.block_directory(key))
        elif (cached := self.find(key)) is not None:
            return cached
        arrays[STATUS_COLUMN] = status
        is_rejected = status != USABLE
        for layout in source.layouts:
            if layout.name in shards:
                continue
            rows = arrays.get(layout.name)
            if rows is None:
                shards[layout.name] = None
                continue
            if is_rejected.any() and layout.name != STATUS_COLUMN:
                rows = np.array(rows)
                rows[is_rejected] = layout.fill
            shards[layout.name] = write_shard(temporary / layout.name, layout, rows)
        rejections = tuple(
            Rejection(row, int(status[row]), source.sources[row], details.get(row, ""))
            for row in np.flatnonzero(is_rejected).tolist()
        )
        self._commit(temporary, key, shards, rejections)
        return Block(key, self.block_directory(key), shards, rejections, was_cached=False)

    def _commit(
        self,
        temporary: Path,
        key: str,
        shards: Mapping[str, ShardRecord | None],
        rejections: Sequence[Rejection],
    ) -> None:
        record = {
            "key": key,
            "shards": {
                name: None if shard is None else [shard.length, shard.digest]
                for name, shard in sorted(shards.items())
            },
            "rejections": [[r.row, r.status, r.source, r.detail] for r in rejections],
        }
        write_file(temporary / RECORD_NAME, [to_json(record)])
        for path in temporary.iterdir():
            path.chmod(0o444)
            os.utime(path, ns=(SEALED_NS, SEALED_NS))
        sync_directory(temporary)
        final = self.block_directory(key)
        final.parent.mkdir(parents=True, exist_ok=True)
        try:
            seam.syscalls.rename(temporary, final)
        except OSError:
            if self.find(key) is None:  # else somebody else finished the very same block first
                raise
        sync_directory(final.parent)


@dataclass(frozen=True, slots=True)
class _ReadFile:
    data: bytes
    identity: bytes
    status: int
    detail: str


def _read_file(files: FileColumn, source: str, stats: StatCache) -> _ReadFile:
    path = f"{files.root}/{source}"
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - hot path
            stat = _stat_of(os.fstat(file.fileno()))
            data = file.read()
    except OSError as error:
        detail = f"{error.strerror or error}"
        return _ReadFile(b"", b"missing", files.missing_status, detail)
    status, detail = files.check(data)
    digest = hashlib.sha256(data).digest()
    if len(data) == stat.size:
        stats.remember(source, stat, digest)
    return _ReadFile(data, digest, status, detail)


def _identities_by_stat(source: BlockSource, stats: StatCache) -> list[bytes] | None:
    """The identity of every row's file without reading it; None if one is not known."""
    identities = [b""] * source.n_rows
    if source.file_column is None:
        return identities
    root = str(source.file_column.root)
    for row in np.flatnonzero(source.arrays[STATUS_COLUMN] == USABLE).tolist():
        path = source.sources[row]
        try:
            stat = _stat_of(os.stat(f"{root}/{path}"))  # noqa: PTH116 - hot path
        except OSError:
            identities[row] = b"missing"
            continue
        found = stats.find(path, stat)
        if found is None:
            return None
        identities[row] = found
    return identities


def _stat_of(result: os.stat_result) -> FileStat:
    return FileStat(result.st_size, result.st_ino, result.st_mtime_ns, result.st_ctime_ns)


def _block_key(source: BlockSource, identities: Sequence[bytes]) -> str:
    header = {
        "parameters": source.parameters,
        "layouts": [layout.array_metadata(0) for layout in source.layouts],
        "columns": [layout.name for layout in source.layouts],
        "n_rows": source.n_rows,
        "reads_files": source.file_column is not None,
        "details": {str(row): source.details[row] for row in sorted(source.details)},
    }
    digest = hashlib.sha256(to_json(header))
    for layout in source.layouts:
        rows = source.arrays.get(layout.name)
        if rows is not None:
            digest.update(layout.name.encode())
            digest.update(np.ascontiguousarray(rows, dtype=layout.dtype).data)
    for identity in identities:
        digest.update(len(identity).to_bytes(1, "little"))
        digest.update(identity)
    return digest.hexdigest()


def _files_are_whole(directory: Path, shards: Mapping[str, ShardRecord | None]) -> bool:
    for name, record in shards.items():
        if record is None:
            continue
        path = directory / name
        stat = path.stat()
        if stat.st_size != record.length:
            return False
        if stat.st_mtime_ns != SEALED_NS and file_digest(path) != record.digest:
            return False
    return True


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
