"""Garbage collection: blocks that no published store refers to (protocol 9)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cache import syscalls as seam
from cache.blocks import BlockCache
from cache.files import WorkDirectory, remove_abandoned, writing
from cache.locks import cache_lock
from cache.manifest import Manifest
from cache.registry import registered_stores
from cache.store_directory import aside_path, read_manifest
from errors import StoreError


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One block in the cache."""

    key: str
    size_bytes: int
    stores: tuple[str, ...]


def list_blocks(cache_directory: Path) -> list[CacheEntry]:
    """Every block with its size and the published stores that refer to it.

    Raises:
        StoreError: a registered store cannot be read, so what it refers to is not known.
    """
    users = _users_by_key(cache_directory)
    blocks = BlockCache(cache_directory).blocks_directory
    entries = []
    for directory in sorted(blocks.glob("??/*")):
        size = sum(path.stat().st_size for path in directory.glob("*"))
        entries.append(CacheEntry(directory.name, size, users.get(directory.name, ())))
    return entries


def collect_garbage(cache_directory: Path) -> list[CacheEntry]:
    """Remove the blocks that no published store refers to, and what dead builders left.

    Returns:
        What was removed.

    Raises:
        BusyError: a `prepare` is using the cache.
        StoreError: a registered store cannot be read, so what it refers to is not known.
    """
    with cache_lock(cache_directory, exclusive=True), writing(cache_directory):
        cache = BlockCache(cache_directory)
        removed = [entry for entry in list_blocks(cache_directory) if not entry.stores]
        if removed:
            with WorkDirectory(cache.blocks_directory) as work:
                for entry in removed:
                    seam.syscalls.rename(cache.block_directory(entry.key), work.path / entry.key)
        remove_abandoned(cache.blocks_directory)
        for path, registered in registered_stores(cache_directory):
            if registered is not None and not _stands(registered.path):
                path.unlink()
    return removed


def _users_by_key(cache_directory: Path) -> dict[str, tuple[str, ...]]:
    users: dict[str, tuple[str, ...]] = {}
    for path, entry in registered_stores(cache_directory):
        if entry is None:
            raise StoreError(
                "the note of a store that uses this cache is damaged",
                where=str(path),
                cause="the file was cut or altered",
                next_command="delete the file, run `cli.py prepare` on every dataset that uses "
                "this cache, then run the same command again",
            )
        if not _stands(entry.path):
            continue
        for key in _keys(_manifests(entry.path, entry.manifest)):
            users[key] = (*users.get(key, ()), str(entry.path))
    return {key: tuple(dict.fromkeys(stores)) for key, stores in users.items()}


def _manifests(store: Path, noted: Manifest | None) -> list[Manifest]:
    """What a store refers to: by its own manifest, else by the one that was noted."""
    try:
        return [read_manifest(store)]
    except StoreError as error:
        if noted is not None:
            return [noted]
        raise StoreError(
            f"a store that uses this cache cannot be read: {error.what}",
            where=str(store),
            cause="its blocks may be all that is needed to repair it",
            next_command=f"run `cli.py prepare {store.stem}`, or delete the store",
        ) from error


def _keys(manifests: Iterable[Manifest]) -> Iterable[str]:
    for manifest in manifests:
        for split in manifest.splits.values():
            for block in split.blocks:
                yield block.key


def _stands(store: Path) -> bool:
    return store.exists() or aside_path(store).exists()
