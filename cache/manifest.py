"""`manifest.json`: what a store must consist of. A reader trusts it, never absence.

Zarr reads a deleted shard as fill values without an error, so the manifest names every shard with
its length and digest, and says of the others that they hold nothing but fill values. It carries its
own digest, and the accounting identity: examples read = usable + rejected by reason, per split.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache.layout import Json, to_json
from cache.shards import ShardRecord
from errors import StoreError

MANIFEST_NAME = "manifest.json"
FORMAT = "poseshard manifest 1"
USABLE = 0


@dataclass(frozen=True, slots=True)
class FileRecord:
    """Length in bytes and SHA-256 (hexadecimal) of a metadata file."""

    length: int
    digest: str


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row that is not usable, and why."""

    row: int
    status: int
    source: str
    detail: str

    def shifted(self, by: int) -> Rejection:
        return Rejection(self.row + by, self.status, self.source, self.detail)


@dataclass(frozen=True, slots=True)
class BlockRecord:
    """A run of rows of one split: its key and the shard of each column (None: only fill values)."""

    start: int
    stop: int
    key: str
    shards: Mapping[str, ShardRecord | None]


@dataclass(frozen=True, slots=True)
class SplitRecord:
    """One split: its rows, its blocks in order, and every rejected row."""

    n_rows: int
    blocks: tuple[BlockRecord, ...]
    rejections: tuple[Rejection, ...]

    @property
    def n_usable(self) -> int:
        return self.n_rows - len(self.rejections)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything that a store consists of.

    Attributes:
        status_names: name of each status code; 0 is usable.
        splits: by name.
        metadata: length and digest of every `zarr.json`, by path relative to the store.
    """

    status_names: Mapping[int, str]
    splits: Mapping[str, SplitRecord]
    metadata: Mapping[str, FileRecord]

    def to_bytes(self) -> bytes:
        """The file's bytes, which depend on nothing but the content."""
        body = self._to_json()
        return to_json({**body, "digest": _digest(body)})

    def rejected_by_reason(self, split: str) -> dict[str, int]:
        """How many rows of a split were rejected, by the name of the reason."""
        counts = Counter(r.status for r in self.splits[split].rejections)
        return {self.status_names[code]: counts[code] for code in sorted(counts)}

    def _to_json(self) -> Json:
        return {
            "format": FORMAT,
            "status_names": {str(code): name for code, name in sorted(self.status_names.items())},
            "splits": {name: self._split_to_json(name) for name in self.splits},
            "metadata": {path: [r.length, r.digest] for path, r in self.metadata.items()},
        }

    def _split_to_json(self, name: str) -> Json:
        split = self.splits[name]
        return {
            "accounting": {
                "read": split.n_rows,
                "usable": split.n_usable,
                "rejected": self.rejected_by_reason(name),
            },
            "rejected": [
                {
                    "row": rejection.row,
                    "reason": self.status_names[rejection.status],
                    "source": rejection.source,
                    "detail": rejection.detail,
                }
                for rejection in split.rejections
            ],
            "blocks": [
                {
                    "rows": [block.start, block.stop],
                    "key": block.key,
                    "shards": {c: shard_to_json(r) for c, r in sorted(block.shards.items())},
                }
                for block in split.blocks
            ],
        }


def parse_manifest(data: bytes, *, path: Path) -> Manifest:
    """Decode and check a manifest.

    Raises:
        StoreError: it is cut or altered, or its accounts do not balance.
    """
    try:
        document = json.loads(data)
        digest = document.pop("digest")
        if document["format"] != FORMAT:
            raise _damaged(path, f"its format is {document['format']!r}, expected {FORMAT!r}")
        if digest != _digest(document):
            raise _damaged(path, "it does not match its own digest")
        manifest = _from_json(document)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise _damaged(path, f"it is not a manifest ({error})") from error
    for name, split in manifest.splits.items():
        accounting = document["splits"][name]["accounting"]
        rows = [rejection.row for rejection in split.rejections]
        balanced = (
            accounting["read"] == accounting["usable"] + sum(accounting["rejected"].values())
            and accounting["usable"] == split.n_usable
            and accounting["rejected"] == manifest.rejected_by_reason(name)
            and len(set(rows)) == len(rows)
            and all(0 <= row < split.n_rows for row in rows)
            and _are_consecutive(split)
        )
        if not balanced:
            raise _damaged(path, f"the accounts of split {name!r} do not balance")
    return manifest


def _from_json(document: Mapping[str, Any]) -> Manifest:
    status_names = {int(code): str(name) for code, name in document["status_names"].items()}
    codes = {name: code for code, name in status_names.items()}
    splits = {
        str(name): SplitRecord(
            n_rows=int(split["accounting"]["read"]),
            blocks=tuple(
                BlockRecord(
                    start=int(block["rows"][0]),
                    stop=int(block["rows"][1]),
                    key=str(block["key"]),
                    shards={c: shard_from_json(r) for c, r in block["shards"].items()},
                )
                for block in split["blocks"]
            ),
            rejections=tuple(
                Rejection(
                    row=int(rejected["row"]),
                    status=codes[rejected["reason"]],
                    source=str(rejected["source"]),
                    detail=str(rejected["detail"]),
                )
                for rejected in split["rejected"]
            ),
        )
        for name, split in document["splits"].items()
    }
    metadata = {str(p): FileRecord(int(r[0]), str(r[1])) for p, r in document["metadata"].items()}
    return Manifest(status_names, splits, metadata)


def _are_consecutive(split: SplitRecord) -> bool:
    """Whether the blocks tile the rows, each with the same columns."""
    starts = [block.start for block in split.blocks]
    stops = [block.stop for block in split.blocks]
    return (
        [0, *stops] == [*starts, split.n_rows]
        and all(start < stop for start, stop in zip(starts, stops, strict=True))
        and all(block.shards.keys() == split.blocks[0].shards.keys() for block in split.blocks)
    )


def shard_from_json(record: Sequence[Any] | None) -> ShardRecord | None:
    return None if record is None else ShardRecord(int(record[0]), str(record[1]), str(record[2]))


def shard_to_json(record: ShardRecord | None) -> list[Any] | None:
    return None if record is None else [record.length, record.digest, record.seal]


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(to_json(body)).hexdigest()


def _damaged(path: Path, what: str) -> StoreError:
    return StoreError(
        f"the manifest is damaged: {what}",
        where=str(path),
        cause="the file was cut or altered after it was written",
        next_command="run `cli.py prepare` on this dataset again: it rebuilds what is missing",
    )
