"""Garbage collection: blocks that no published store refers to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from cache.blocks import BlockCache
from cache.files import remove_abandoned, remove_tree, replace_file
from cache.locks import cache_lock
from cache.publish import read_manifest
from errors import StoreError


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One block in the cache."""

    key: str
    size_bytes: int
    stores: tuple[str, ...]


def register_store(cache_directory: Path, store: Path) -> None:
    """Note that a store uses this cache, before its first block is built."""
    name = hashlib.sha256(str(store.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    path = cache_directory / "stores" / name
    if not path.exists():
        replace_file(path, [str(store.resolve()).encode("utf-8", "surrogateescape")])


def list_blocks(cache_directory: Path) -> list[CacheEntry]:
    """Every block with its size and the published stores that refer to it."""
    users = _users_by_key(cache_directory)
    blocks = BlockCache(cache_directory).blocks_directory
    entries = []
    for directory in sorted(blocks.glob("??/*")):
        size = sum(path.stat().st_size for path in directory.iterdir())
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
    with cache_lock(cache_directory, exclusive=True):
        removed = [entry for entry in list_blocks(cache_directory) if not entry.stores]
        cache = BlockCache(cache_directory)
        for entry in removed:
            remove_tree(cache.block_directory(entry.key))
        remove_abandoned(cache.blocks_directory)
    return removed


def _users_by_key(cache_directory: Path) -> dict[str, tuple[str, ...]]:
    users: dict[str, tuple[str, ...]] = {}
    for reference in sorted((cache_directory / "stores").glob("*")):
        store = Path(reference.read_bytes().decode("utf-8", "surrogateescape"))
        if not store.exists():
            continue
        try:
            manifest = read_manifest(store)
        except StoreError as error:
            raise StoreError(
                f"a store that uses this cache cannot be read: {error.what}",
                where=str(store),
                cause="its blocks may be all that is needed to repair it",
                next_command=f"run `cli.py prepare {store.stem}`, or delete the store",
            ) from error
        for split in manifest.splits.values():
            for block in split.blocks:
                users[block.key] = (*users.get(block.key, ()), str(store))
    return {key: tuple(dict.fromkeys(stores)) for key, stores in users.items()}
