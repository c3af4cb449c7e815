"""Content-addressed blocks: built whole under a key of their content, linked into stores later.

A block is a run of consecutive rows of one split. The same key is the same bytes, so a block that
exists is never built again, by whomever and whenever (protocol 2 to 4).

Directory of a cache:

    blocks/<key[:2]>/<key>/<column>     the shard of one column
    blocks/<key[:2]>/<key>/block.json   its record: lengths, digests, rejected rows
    blocks/.tmp-*/                      the work directory of a run
    stat/                               digests of source files by stat
    stores/                             which stores use this cache, and their metadata, for repair
    lock                                shared by builders, exclusive to gc
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cache import chunks
from cache import syscalls as seam
from cache.files import (
    SEALED_NS,
    WorkDirectory,
    sync_directories,
    sync_tree,
    write_file,
    writing,
)
from cache.layout import ColumnLayout, to_json
from cache.manifest import USABLE, Rejection, shard_from_json, shard_to_json
from cache.shards import ShardRecord, ShardWriter, digest, file_digest, shard_is_intact, write_shard
from cache.source_files import FileColumn, read_file
from cache.stat_cache import StatCache
from errors import SourceError

RECORD_NAME = "block.json"
STATUS_COLUMN = "status"
_COMMIT_BYTES = 1 << 26
_COMMIT_SECONDS = 0.5
_CANCEL_SECONDS = 5.0  # a build that hangs in a read must not keep an interrupted run from ending

Arrays = Mapping[str, npt.NDArray[Any]]


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
        identities: of each row's file, None where it is not known without reading it.
        parameters: whatever else belongs into the key (schema version, settings).
        packed: of padded columns, the lengths of the rows, int32, and their values without the
            padding. They say all that the padded rows say, and take less time to digest.
    """

    layouts: Sequence[ColumnLayout]
    arrays: Arrays
    sources: Sequence[str]
    details: Mapping[int, str]
    file_column: FileColumn | None
    identities: Sequence[bytes | None]
    parameters: Mapping[str, Any]
    packed: Mapping[str, tuple[npt.NDArray[np.int32], npt.NDArray[Any]]] = field(
        default_factory=dict
    )

    @property
    def n_rows(self) -> int:
        return len(self.arrays[STATUS_COLUMN])

    def key(self, identities: Sequence[bytes]) -> str:
        """The block's key, given what every row's file is."""
        header = {
            "encoder": chunks.ENCODER,
            "parameters": self.parameters,
            "layouts": [[lay.name, lay.array_metadata(0)] for lay in self.layouts],
            "n_rows": self.n_rows,
            "reads_files": self.file_column is not None,
            "details": {str(row): self.details[row] for row in sorted(self.details)},
        }
        hashed = hashlib.sha256(to_json(header))
        for layout in self.layouts:
            rows = self.arrays.get(layout.name)
            if layout.name in self.packed:
                hashed.update(f"{layout.name} packed".encode())
                for part in self.packed[layout.name]:
                    hashed.update(np.ascontiguousarray(part).data)
            elif rows is not None:
                hashed.update(layout.name.encode())
                hashed.update(np.ascontiguousarray(rows, dtype=layout.dtype).data)
        if self.file_column is not None:
            hashed.update(b"".join(bytes([len(identity)]) + identity for identity in identities))
        return hashed.hexdigest()


@dataclass(frozen=True, slots=True)
class Block:
    """A block of the cache, or one that will be there after `BlockCache.flush`."""

    key: str
    directory: Path
    shards: Mapping[str, ShardRecord | None]
    rejections: tuple[Rejection, ...]
    was_cached: bool


class BuildCancelledError(Exception):
    """Another block could not be built, or the user interrupted."""


class BlockCache:
    """The blocks below one directory; building needs it entered as a context.

    Blocks may be built from several threads. Leaving the context stops those that are under way
    and removes what they have written.

    Args:
        must_rebuild: blocks that are there are built anew and replaced.
        by_digest: a block counts as there only if every byte of it is right; without, files that
            look untouched are trusted.
    """

    def __init__(
        self, directory: Path, *, must_rebuild: bool = False, by_digest: bool = False
    ) -> None:
        self.directory = directory
        self._by_digest = by_digest
        self.blocks_directory = directory / "blocks"
        self._must_rebuild = must_rebuild
        self._work: WorkDirectory | None = None
        self._changed = threading.Condition()
        self._n_begun = 0
        self._n_building = 0
        self._is_cancelled = False
        self._is_committing = False
        self._pending: list[tuple[Path, str]] = []
        self._pending_bytes = 0
        self._last_commit = float("-inf")

    def __enter__(self) -> BlockCache:
        with writing(self.blocks_directory):
            self._work = WorkDirectory(self.blocks_directory)
        return self

    def __exit__(self, *exception: object) -> None:
        self.cancel()
        with self._changed:
            self._changed.wait_for(lambda: self._n_building == 0, _CANCEL_SECONDS)
        assert self._work is not None
        self._work.__exit__()

    def cancel(self) -> None:
        """Let the builds under way stop at their next row or column."""
        self._is_cancelled = True

    def block_directory(self, key: str) -> Path:
        return self.blocks_directory / key[:2] / key

    def find(self, key: str) -> Block | None:
        """The block of this key, if it is there whole."""
        directory = self.block_directory(key)
        try:
            record = json.loads((directory / RECORD_NAME).read_bytes())
            is_sound = record.pop("digest") == digest(to_json(record)) and record["key"] == key
            shards = {name: shard_from_json(r) for name, r in record["shards"].items()}
            rejections = tuple(Rejection(*rejected) for rejected in record["rejections"])
            if not is_sound or not all(
                _is_whole(directory / name, shard, by_digest=self._by_digest)
                for name, shard in shards.items()
                if shard is not None
            ):
                return None
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return None
        return Block(key, directory, shards, rejections, was_cached=True)

    def build(self, source: BlockSource, stats: StatCache) -> Block:
        """The block of this content, from the cache or built now.

        Raises:
            StoreError: the cache cannot be written (disk full, no permission).
            SourceError: a file changes while it is read.
        """
        with self._changed:
            self._n_begun += 1
            self._n_building += 1
            number = self._n_begun
        try:
            with writing(self.blocks_directory):
                self._stop_if_cancelled()
                identities = [i for i in source.identities if i is not None]
                key = source.key(identities) if len(identities) == source.n_rows else None
                if key is not None and not self._must_rebuild:
                    cached = self.find(key)
                    if cached is not None:
                        return cached
                assert self._work is not None
                work = self._work.path / str(number)
                seam.syscalls.mkdir(work)
                return self._build_in(work, source, stats, expected_key=key)
        finally:
            with self._changed:
                self._n_building -= 1
                self._changed.notify_all()

    def flush(self) -> None:
        """Commit the blocks that still wait for others."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_committing)
            batch = self._take_pending()
        with writing(self.blocks_directory):
            self._commit(batch)

    def _build_in(
        self, work: Path, source: BlockSource, stats: StatCache, *, expected_key: str | None
    ) -> Block:
        arrays, details = dict(source.arrays), dict(source.details)
        arrays[STATUS_COLUMN] = np.array(arrays[STATUS_COLUMN])
        shards: dict[str, ShardRecord | None] = {}
        identities = [b""] * source.n_rows
        if source.file_column is not None:
            name = source.file_column.column
            shards[name] = self._write_files(work, source, stats, arrays, details, identities)
        key = source.key(identities) if source.file_column is not None else expected_key
        assert key is not None
        if key != expected_key and not self._must_rebuild:
            cached = self.find(key)
            if cached is not None:
                seam.syscalls.remove_tree(work)
                return cached
        is_rejected = arrays[STATUS_COLUMN] != USABLE
        for layout in source.layouts:
            self._stop_if_cancelled()
            if layout.name not in shards:
                rows = arrays.get(layout.name)
                if rows is not None and is_rejected.any() and layout.name != STATUS_COLUMN:
                    rows = np.array(rows)
                    rows[is_rejected] = layout.fill
                shards[layout.name] = (
                    None if rows is None else write_shard(work / layout.name, layout, rows)
                )
        rejections = tuple(
            Rejection(
                row, int(arrays[STATUS_COLUMN][row]), source.sources[row], details.get(row, "")
            )
            for row in np.flatnonzero(is_rejected).tolist()
        )
        _write_record(work, key, shards, rejections)
        size = sum(shard.length for shard in shards.values() if shard is not None)
        self._commit_soon(work, key, size)
        return Block(key, self.block_directory(key), shards, rejections, was_cached=False)

    def _write_files(
        self,
        work: Path,
        source: BlockSource,
        stats: StatCache,
        arrays: dict[str, npt.NDArray[Any]],
        details: dict[int, str],
        identities: list[bytes],
    ) -> ShardRecord | None:
        """Write the file column; fills in lengths, statuses, details and identities."""
        files = source.file_column
        assert files is not None
        layout = next(layout for layout in source.layouts if layout.name == files.column)
        status = arrays[STATUS_COLUMN]
        lengths = np.zeros(source.n_rows, dtype=np.int32)
        writer = ShardWriter(work / files.column, layout)
        first_row_of_file: dict[str, int] = {}
        first_row_of: dict[bytes, int] = {}
        try:
            for row in np.flatnonzero(status == USABLE).tolist():
                self._stop_if_cancelled()
                # Several people in one picture are as many rows: it is read and stored once.
                first = first_row_of_file.setdefault(source.sources[row], row)
                if first != row:
                    identities[row] = identities[first]
                    lengths[row], status[row] = lengths[first], status[first]
                    if status[row] == USABLE:
                        writer.repeat(row, first)
                    else:
                        details[row] = details[first]
                    continue
                read = read_file(files, source.sources[row], stats)
                identities[row] = read.identity
                if read.status != USABLE:
                    status[row], details[row] = read.status, read.detail
                elif len(read.data) > layout.row_bytes:
                    raise SourceError(
                        "a file grew since its length was taken",
                        where=f"{files.root}/{source.sources[row]}",
                        cause="another program is writing it",
                        next_command="wait until it is done, then run the same command again",
                    )
                else:
                    lengths[row] = len(read.data)
                    first = first_row_of.setdefault(read.identity, row)
                    if first != row:
                        writer.repeat(row, first)
                    else:
                        writer.put(row, chunks.encode_padded_file(read.data, layout.row_bytes))
            arrays[files.length_column] = lengths
            return writer.finish()
        finally:
            writer.close()

    def _commit_soon(self, work: Path, key: str, size: int) -> None:
        with self._changed:
            self._pending.append((work, key))
            self._pending_bytes += size
            is_due = (
                self._pending_bytes >= _COMMIT_BYTES
                or time.monotonic() - self._last_commit >= _COMMIT_SECONDS
            )
            if self._is_committing or not is_due:
                return
            self._is_committing = True
            batch = self._take_pending()
        try:
            self._commit(batch)
        finally:
            with self._changed:
                self._is_committing = False
                self._last_commit = time.monotonic()
                self._changed.notify_all()

    def _take_pending(self) -> list[tuple[Path, str]]:
        batch, self._pending, self._pending_bytes = self._pending, [], 0
        return batch

    def _commit(self, batch: Sequence[tuple[Path, str]]) -> None:
        """Protocol 4: sync, rename each block to its key, sync."""
        if not batch:
            return
        assert self._work is not None
        sync_tree(self._work.path)
        parents = {self.blocks_directory}
        for work, key in batch:
            final = self.block_directory(key)
            seam.syscalls.mkdir(final.parent)
            parents.add(final.parent)
            try:
                seam.syscalls.rename(work, final)
            except OSError:
                if not final.is_dir():
                    raise
                if self._must_rebuild or self.find(key) is None:
                    self._displace(work, final)
                # Else somebody else finished the very same block first.
        sync_directories(sorted(parents))

    def _displace(self, work: Path, final: Path) -> None:
        if not seam.syscalls.exchange(work, final):
            seam.syscalls.rename(final, work.with_name(f"{work.name}-old"))
            seam.syscalls.rename(work, final)

    def _stop_if_cancelled(self) -> None:
        if self._is_cancelled:
            raise BuildCancelledError


def block_is_intact(block: Block, layouts: Sequence[ColumnLayout]) -> bool:
    """Whether every shard of a block is what was written, by its checksums."""
    try:
        return all(
            shard_is_intact(block.directory / layout.name, layout, record)
            for layout in layouts
            if (record := block.shards[layout.name]) is not None
        )
    except OSError:
        return False


def _write_record(
    work: Path,
    key: str,
    shards: Mapping[str, ShardRecord | None],
    rejections: Sequence[Rejection],
) -> None:
    record = {
        "key": key,
        "shards": {name: shard_to_json(shard) for name, shard in sorted(shards.items())},
        "rejections": [[r.row, r.status, r.source, r.detail] for r in rejections],
    }
    write_file(work / RECORD_NAME, [to_json({**record, "digest": digest(to_json(record))})])
    for name, shard in shards.items():
        if shard is not None:
            seam.syscalls.seal(work / name, SEALED_NS)


def _is_whole(path: Path, record: ShardRecord, *, by_digest: bool) -> bool:
    stat = path.stat()
    if stat.st_size != record.length:
        return False
    is_untouched = stat.st_mtime_ns == SEALED_NS and not by_digest
    return is_untouched or file_digest(path) == record.digest
