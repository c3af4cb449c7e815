"""Publishing: a store assembled beside its place from links to cached shards, swapped in whole."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache import syscalls as seam
from cache.blocks import SEALED_NS, Block, file_digest
from cache.files import (
    TEMPORARY_PREFIX,
    link_or_copy,
    remove_tree,
    sync_directory,
    temporary_name,
    write_file,
    writing,
)
from cache.layout import ColumnLayout, group_metadata, to_json
from cache.manifest import MANIFEST_NAME, BlockRecord, Manifest, SplitRecord, parse_manifest
from cache.shards import ShardRecord
from errors import StoreError

SUPERSEDED_PREFIX = TEMPORARY_PREFIX + "superseded-"


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


def publish(content: StoreContent, store: Path) -> bool:
    """Make `store` hold `content`, unless it does already.

    Whoever opens the store sees the old one or the new one, never half of one; killed at any
    instant, this leaves one of the two.

    Returns:
        Whether anything had to be written.

    Raises:
        StoreError: something that is no store stands at that place, or it cannot be written.
    """
    documents = _metadata_documents(content)
    manifest = _manifest(content, documents)
    if is_current(store, manifest):
        return False
    _refuse_foreign(store)
    with writing(store):
        store.parent.mkdir(parents=True, exist_ok=True)
        assembled = temporary_name(store.parent)
        seam.syscalls.mkdir(assembled)
        try:
            _assemble(assembled, content, documents, manifest)
            _swap_in(assembled, store)
        finally:
            if assembled.exists():
                _retire(assembled)
    return True


def is_current(store: Path, manifest: Manifest) -> bool:
    """Whether the store has this manifest and every file of it untouched."""
    try:
        if (store / MANIFEST_NAME).read_bytes() != manifest.to_bytes():
            return False
        for path, record in manifest.metadata.items():
            if file_digest(store / path) != record.digest:
                return False
        for split_name, split in manifest.splits.items():
            for number, block in enumerate(split.blocks):
                for column, shard in block.shards.items():
                    path_of = store / split_name / column / "c" / str(number)
                    if shard is None:
                        if path_of.exists():
                            return False
                    elif not _is_untouched(_only_file(path_of), shard):
                        return False
    except (OSError, ValueError):
        return False
    return True


def read_manifest(store: Path) -> Manifest:
    """The manifest of a published store.

    Raises:
        StoreError: there is no store, or its manifest is missing or damaged.
    """
    path = store / MANIFEST_NAME
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise StoreError(
            "there is no store here" if not store.exists() else "the store has no manifest",
            where=str(path),
            cause="the dataset was not prepared yet"
            if not store.exists()
            else "the folder is not a poseshard store, or its manifest was deleted",
            next_command=f"run `cli.py prepare {store.stem}`",
        ) from error
    except OSError as error:
        raise StoreError("cannot read the manifest", where=str(path), cause=str(error)) from error
    return parse_manifest(data, path=path)


def _only_file(path: Path) -> Path:
    """The shard file below `c/<number>`, whatever the number of trailing dimensions."""
    while path.is_dir():
        path = path / "0"
    return path


def _is_untouched(path: Path, record: ShardRecord) -> bool:
    stat = path.stat()
    if stat.st_size != record.length:
        return False
    return stat.st_mtime_ns == SEALED_NS or file_digest(path) == record.digest


def _metadata_documents(content: StoreContent) -> dict[str, bytes]:
    documents = {"zarr.json": to_json(group_metadata(content.attributes))}
    for split, blocks in content.splits.items():
        n_rows = blocks[-1][0].stop if blocks else 0
        documents[f"{split}/zarr.json"] = to_json(group_metadata({}))
        for layout in content.layouts:
            documents[f"{split}/{layout.name}/zarr.json"] = to_json(layout.array_metadata(n_rows))
    return documents


def _manifest(content: StoreContent, documents: Mapping[str, bytes]) -> Manifest:
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
        for name, blocks in content.splits.items()
    }
    metadata = {
        path: ShardRecord(len(data), hashlib.sha256(data).hexdigest())
        for path, data in documents.items()
    }
    return Manifest(content.status_names, splits, metadata)


def _assemble(
    assembled: Path, content: StoreContent, documents: Mapping[str, bytes], manifest: Manifest
) -> None:
    directories = {assembled}
    for split, blocks in content.splits.items():
        for number, (_, block) in enumerate(blocks):
            for layout in content.layouts:
                if block.shards[layout.name] is None:
                    continue
                target = assembled / split / layout.shard_path(number)
                target.parent.mkdir(parents=True, exist_ok=True)
                directories.update(_ancestors(target.parent, assembled))
                link_or_copy(block.directory / layout.name, target)
    for path, data in documents.items():
        target = assembled / path
        target.parent.mkdir(parents=True, exist_ok=True)
        directories.update(_ancestors(target.parent, assembled))
        write_file(target, [data])
    write_file(assembled / MANIFEST_NAME, [manifest.to_bytes()])
    for directory in sorted(directories, key=lambda d: len(d.parts), reverse=True):
        sync_directory(directory)


def _ancestors(directory: Path, top: Path) -> list[Path]:
    chain = [directory]
    while chain[-1] != top:
        chain.append(chain[-1].parent)
    return chain


def _swap_in(assembled: Path, store: Path) -> None:
    if not store.exists():
        seam.syscalls.rename(assembled, store)
    elif not seam.syscalls.exchange(assembled, store):
        # No atomic exchange on this file system: for an instant only the new store, complete under
        # its temporary name, is there. `prepare` run again finishes what a kill here leaves.
        superseded = store.parent / f"{SUPERSEDED_PREFIX}{assembled.name}"
        seam.syscalls.rename(store, superseded)
        seam.syscalls.rename(assembled, store)
        _retire(superseded)
    sync_directory(store.parent)


def _retire(directory: Path) -> None:
    """Remove a store that was swapped out, unless a reader still holds it open."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return  # a later prepare or gc finds it under its temporary name
    finally:
        os.close(fd)
    remove_tree(directory)


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
