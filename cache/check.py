"""Checking a store against its manifest: every file, every byte, every chunk.

What is found is named by file, column, block and rows, as precisely as the damage allows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cache import chunks, shards
from cache.layout import ColumnLayout, layout_from_metadata
from cache.manifest import MANIFEST_NAME, BlockRecord, Manifest, parse_manifest
from cache.shards import ShardRecord
from cache.store_directory import StoreDirectory
from errors import StoreError


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong with a store.

    Attributes:
        problem: a word for it: `manifest`, `metadata`, `missing`, `foreign`, `length`, `digest`,
            `chunk`, `accounting`, `invariant` or `picture`.
        file: path in the store.
        detail: a sentence.
        split, column, block: where, as far as it is known; the block by its number in the split.
        rows: of the split, that cannot be trusted.
    """

    problem: str
    file: str
    detail: str
    split: str | None = None
    column: str | None = None
    block: int | None = None
    rows: tuple[int, ...] = ()

    @property
    def is_damage(self) -> bool:
        """Whether a file is not what was written, as opposed to what was written being wrong."""
        return self.problem not in ("accounting", "invariant", "picture")


@dataclass(frozen=True, slots=True)
class CheckedBlock:
    """One block, checked.

    Attributes:
        columns: the rows of every column that could be read, (n, *row_shape); of padded files (one
            per chunk) the stored chunks instead, None where there is none.
    """

    split: str
    number: int
    rows: range
    findings: list[Finding]
    columns: dict[str, npt.NDArray[Any]]
    files: dict[str, list[bytes | None]]
    n_bytes: int
    n_chunks: int


@dataclass(slots=True)
class StoreCheck:
    """A check of one store under way: the files first, then block by block.

    Attributes:
        manifest: None if it is damaged; nothing else can be told then.
        attributes: of the root group; empty if its metadata are damaged.
        layouts: by column, from whichever split's metadata are sound.
        documents: every metadata file, by path, as far as its bytes are known.
        findings: about manifest, metadata, and files that should not be there.
    """

    directory: StoreDirectory
    manifest: Manifest | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    layouts: dict[str, ColumnLayout] = field(default_factory=dict)
    documents: dict[str, bytes] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @classmethod
    def open(cls, path: Path, noted: Mapping[str, bytes] | None = None) -> StoreCheck:
        """Check all but the shards.

        Args:
            noted: manifest and metadata to go by where the store's own are damaged, by path.

        Raises:
            StoreError: there is no store.
        """
        check = cls(StoreDirectory(path))
        noted = noted or {}
        try:
            check.manifest = check.directory.read_manifest()
        except StoreError as error:
            check.findings.append(Finding("manifest", MANIFEST_NAME, error.what))
            if MANIFEST_NAME not in noted:
                return check
            check.manifest = parse_manifest(noted[MANIFEST_NAME], path=path / MANIFEST_NAME)
        for name in check.manifest.metadata:
            check._check_metadata(name, noted.get(name, b""))
        check._check_presence()
        return check

    @property
    def n_rows(self) -> int:
        splits = self.manifest.splits.values() if self.manifest else ()
        return sum(split.n_rows for split in splits)

    def blocks(self) -> Iterator[tuple[str, int, BlockRecord]]:
        """Every block: its split, its number there and its record."""
        for name, split in (self.manifest.splits if self.manifest else {}).items():
            for number, record in enumerate(split.blocks):
                yield name, number, record

    def check_block(self, split: str, number: int, record: BlockRecord) -> CheckedBlock:
        """Check every shard of a block: length, digest, and each chunk's CRC-32C and contents."""
        checked = CheckedBlock(
            split, number, range(record.start, record.stop), [], {}, {}, n_bytes=0, n_chunks=0
        )
        n_bytes = n_chunks = 0
        for column, shard in record.shards.items():
            layout = self.layouts.get(column)
            if layout is None:
                continue
            if shard is None:
                shape = (len(checked.rows), *layout.row_shape)
                if layout.chunk_rows > 1:
                    checked.columns[column] = np.full(shape, layout.fill, dtype=layout.dtype)
                else:
                    checked.files[column] = [None] * len(checked.rows)
                continue
            n_bytes += shard.length
            n_chunks += self._check_shard(checked, layout, shard)
        return CheckedBlock(
            split, number, checked.rows, checked.findings, checked.columns, checked.files,
            n_bytes, n_chunks,
        )  # fmt: skip

    def _check_shard(self, checked: CheckedBlock, layout: ColumnLayout, record: ShardRecord) -> int:
        path = f"{checked.split}/{layout.shard_path(checked.number)}"

        def found(problem: str, detail: str, rows: range = checked.rows) -> None:
            checked.findings.append(
                Finding(
                    problem, path, detail, checked.split, layout.name, checked.number, tuple(rows)
                )
            )

        try:
            data = self.directory.read(path)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            found("missing", "the shard is missing")
            return 0
        except OSError as error:
            found("missing", f"the shard cannot be read: {error.strerror}")
            return 0
        if len(data) != record.length:
            found("length", f"{len(data)} bytes long, the manifest says {record.length}")
            return 0
        tail = data[len(data) - shards.tail_bytes(layout) :]
        try:
            index = shards.parse_tail(tail, shard_length=len(data))
        except chunks.ChunkError as error:
            found("digest", f"the shard's index {error}")
            return 0
        is_same = shards.digest(data) == record.digest and shards.seal(tail) == record.seal
        n_before = len(checked.findings)
        n_chunks = self._check_chunks(checked, layout, data, index, found)
        if not is_same and len(checked.findings) == n_before:
            found("digest", "every chunk is whole, but this is not the shard the manifest names")
        return n_chunks

    def _check_chunks(
        self, checked: CheckedBlock, layout: ColumnLayout, data: bytes, index: bytes, found: Any
    ) -> int:
        shape = (layout.shard_rows, *layout.row_shape)
        is_files = layout.chunk_rows == 1
        values = None if is_files else np.full(shape, layout.fill, dtype=layout.dtype)
        stored: list[bytes | None] = []
        entries = np.frombuffer(index, dtype="<u8").reshape(-1, 2).tolist()
        for chunk, (offset, length) in enumerate(entries):
            start = checked.rows.start + chunk * layout.chunk_rows
            rows = range(start, min(start + layout.chunk_rows, checked.rows.stop))
            part = None if offset == shards.EMPTY else data[offset : offset + length]
            try:
                if part is not None and values is not None:
                    decoded = chunks.decode_chunk(part, layout.chunk_bytes)
                    low = chunk * layout.chunk_rows
                    values[low : low + layout.chunk_rows] = np.frombuffer(
                        decoded, dtype=layout.dtype
                    ).reshape(-1, *layout.row_shape)
                elif part is not None:
                    chunks.check_crc(part)
            except chunks.ChunkError as error:
                found("chunk", f"a chunk {error}", rows)
                values, part = None, None
            stored.append(part)
        if values is not None:
            checked.columns[layout.name] = values[: len(checked.rows)]
        elif is_files:
            checked.files[layout.name] = stored[: len(checked.rows)]
        return sum(offset != shards.EMPTY for offset, _ in entries)

    def _check_metadata(self, name: str, noted: bytes) -> None:
        assert self.manifest is not None
        record = self.manifest.metadata[name]
        data = noted
        try:
            found = self.directory.read(name)
        except OSError as error:
            why = f"the metadata cannot be read: {error.strerror}"
            self.findings.append(Finding("missing", name, why))
        else:
            if shards.digest(found) == record.digest:
                data = found
            else:
                why = "this is not what the manifest names"
                self.findings.append(Finding("metadata", name, why))
        if shards.digest(data) == record.digest:
            self.documents[name] = data
            folder, _, column = name.removesuffix("zarr.json").strip("/").partition("/")
            if column:
                layout = layout_from_metadata(column, json.loads(data))
                self.layouts.setdefault(column, layout)
            elif not folder:
                self.attributes = json.loads(data)["attributes"]

    def _check_presence(self) -> None:
        assert self.manifest is not None
        expected = {MANIFEST_NAME, *self.manifest.metadata}
        expected |= {
            f"{split}/{self.layouts[column].shard_path(number)}"
            for split, number, record in self.blocks()
            for column, shard in record.shards.items()
            if shard is not None and column in self.layouts
        }
        unknown = [c for _, _, r in self.blocks() for c in r.shards if c not in self.layouts]
        for path in sorted(self.directory.list() - expected):
            if not any(f"/{column}/c/" in path for column in unknown):
                self.findings.append(
                    Finding("foreign", path, "this file does not belong to the store")
                )
