"""Publishing: a store assembled beside its place from links to cached shards, swapped in whole.

Protocol 5. Whoever opens the store sees the old one or the new one, never half of one; killed at
any instant, this leaves one of the two.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache import syscalls as seam
from cache.blocks import Block
from cache.files import (
    SEALED_NS,
    WorkDirectory,
    link_or_copy,
    remove_unless_held,
    sync_directory,
    sync_tree,
    temporary_name,
    write_file,
    writing,
)
from cache.layout import ColumnLayout, group_metadata, to_json
from cache.manifest import MANIFEST_NAME, BlockRecord, FileRecord, Manifest, SplitRecord
from cache.shards import ShardRecord, digest, file_digest
from cache.store_directory import aside_path
from errors import StoreError

StoreFiles = Mapping[str, bytes | Path]


@dataclass(frozen=True, slots=True)
class StoreContent:
    """What a store is to hold.

    Attributes:
        attributes: of the root group.
        layouts: of every column, the same for every split.
        status_names: name of each status code.
        splits: the blocks of each split with their first rows, in order.
    """

    attributes: Mapping[str, Any]
    layouts: Sequence[ColumnLayout]
    status_names: Mapping[int, str]
    splits: Mapping[str, Sequence[tuple[range, Block]]]

    def metadata(self) -> dict[str, bytes]:
        """Every `zarr.json`, by its path in the store."""
        n_rows = {split: b[-1][0].stop if b else 0 for split, b in self.splits.items()}
        return metadata_documents(self.attributes, self.layouts, n_rows)

    def manifest(self) -> Manifest:
        splits = {
            name: SplitRecord(
                n_rows=blocks[-1][0].stop if blocks else 0,
                blocks=tuple(
                    BlockRecord(rows.start, rows.stop, block.key, block.shards)
                    for rows, block in blocks
                ),
                rejections=tuple(
                    rejection.shifted(rows.start)
                    for rows, block in blocks
                    for rejection in block.rejections
                ),
            )
            for name, blocks in self.splits.items()
        }
        metadata = {
            path: FileRecord(len(data), digest(data)) for path, data in self.metadata().items()
        }
        return Manifest(self.status_names, splits, metadata)

    def files(self, manifest: Manifest) -> StoreFiles:
        """Every file of the store: its bytes, or the cached shard that it is to be."""
        files: dict[str, bytes | Path] = {
            f"{split}/{layout.shard_path(number)}": block.directory / layout.name
            for split, blocks in self.splits.items()
            for number, (_, block) in enumerate(blocks)
            for layout in self.layouts
            if block.shards[layout.name] is not None
        }
        return {**files, **self.metadata(), MANIFEST_NAME: manifest.to_bytes()}


def metadata_documents(
    attributes: Mapping[str, Any], layouts: Sequence[ColumnLayout], n_rows: Mapping[str, int]
) -> dict[str, bytes]:
    """Every `zarr.json` of a store with these splits, by its path in the store."""
    documents = {"zarr.json": to_json(group_metadata(attributes))}
    for split, n in n_rows.items():
        documents[f"{split}/zarr.json"] = to_json(group_metadata({}))
        for layout in layouts:
            documents[f"{split}/{layout.name}/zarr.json"] = to_json(layout.array_metadata(n))
    return documents


def publish(files: StoreFiles, store: Path) -> None:
    """Put a store that consists of `files` at `store`, in the place of what stands there.

    Args:
        files: bytes to write or files to link, by path in the store.

    Raises:
        StoreError: something that is no store stands at that place, or it cannot be written.
    """
    store = Path(os.path.realpath(store))  # a link to a store elsewhere stays one
    with writing(store):
        recover(store)
        _refuse_foreign(store)
        seam.syscalls.mkdir(store.parent)
        with WorkDirectory(store.parent) as work:
            _assemble(work.path, files)
            sync_tree(work.path)
            work.share()
            _swap_in(work, store)
            sync_directory(store.parent)


def recover(store: Path) -> None:
    """Finish what a kill left between the two renames of a file system that cannot exchange."""
    aside = aside_path(store)
    if aside.exists() and not store.exists():
        seam.syscalls.rename(aside, store)


def is_current(store: Path, manifest: Manifest, layouts: Sequence[ColumnLayout]) -> bool:
    """Whether the store has this manifest, every file of it looks untouched, and no other."""
    try:
        if (store / MANIFEST_NAME).read_bytes() != manifest.to_bytes():
            return False
        found = list_files(store)
        shards = expected_shards(manifest, layouts)
        if found.keys() != shards.keys() | manifest.metadata.keys() | {MANIFEST_NAME}:
            return False
        for path, document in manifest.metadata.items():
            if file_digest(store / path) != document.digest:
                return False
        for path, shard in shards.items():
            if found[path].st_size != shard.length:
                return False
            if found[path].st_mtime_ns != SEALED_NS and file_digest(store / path) != shard.digest:
                return False
    except OSError:
        return False
    return True


def expected_shards(manifest: Manifest, layouts: Sequence[ColumnLayout]) -> dict[str, ShardRecord]:
    """Every shard file that a store must have, by its path in the store."""
    return {
        f"{split_name}/{layout.shard_path(number)}": record
        for split_name, split in manifest.splits.items()
        for number, block in enumerate(split.blocks)
        for layout in layouts
        if (record := block.shards[layout.name]) is not None
    }


def list_files(folder: Path) -> dict[str, os.stat_result]:
    """Everything below a folder that is not a directory, by its relative path."""
    found: dict[str, os.stat_result] = {}
    pending = [""]
    while pending:
        prefix = pending.pop()
        with os.scandir(folder / prefix) as entries:
            for entry in entries:
                path = f"{prefix}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    pending.append(f"{path}/")
                else:
                    found[path] = entry.stat(follow_symlinks=_leads_somewhere(entry))
    return found


def _leads_somewhere(entry: os.DirEntry[str]) -> bool:
    """DVC may put links to files of its own cache in the place of a store's files."""
    return entry.is_symlink() and entry.is_file()


def _assemble(folder: Path, files: StoreFiles) -> None:
    made: set[str] = set()
    for path, content in files.items():
        parent = path.rpartition("/")[0]
        if parent not in made:
            made.add(parent)
            seam.syscalls.mkdir(folder / parent)
        if isinstance(content, Path):
            link_or_copy(content, folder / path)
        else:
            write_file(folder / path, [content])


def _swap_in(work: WorkDirectory, store: Path) -> None:
    if not store.exists():
        seam.syscalls.rename(work.path, store)
    elif seam.syscalls.exchange(work.path, store):
        work.let_go()
        remove_unless_held(work.path)
    else:
        aside = aside_path(store)
        if aside.exists():  # a reader still holds the one before
            seam.syscalls.rename(aside, temporary_name(store.parent))
        seam.syscalls.rename(store, aside)
        seam.syscalls.rename(work.path, store)
        remove_unless_held(aside)
    work.let_go()


def _refuse_foreign(store: Path) -> None:
    if not store.exists() and not store.is_symlink():
        return
    if store.is_dir() and (
        (store / MANIFEST_NAME).is_file()
        or (store / "zarr.json").is_file()
        or not any(store.iterdir())
    ):
        return
    raise StoreError(
        "something that is not a store stands where the store should go",
        where=str(store),
        next_command="choose another --store, or move it away",
    )
