"""Which stores use a cache, and what they are made of besides shards.

gc asks here what is in use; repair finds the metadata and manifest of a store here when both the
store and the source are damaged. Nothing else depends on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cache.files import replace_file
from cache.layout import to_json
from cache.manifest import MANIFEST_NAME, Manifest, parse_manifest
from cache.shards import digest
from errors import StoreError


@dataclass(frozen=True, slots=True)
class RegisteredStore:
    """A store that uses a cache.

    Attributes:
        path: where it stands, or stood.
        documents: its metadata files and manifest as last published there, by path; empty before.
    """

    path: Path
    documents: Mapping[str, bytes]

    @property
    def manifest(self) -> Manifest | None:
        data = self.documents.get(MANIFEST_NAME)
        try:
            return None if data is None else parse_manifest(data, path=self.path / MANIFEST_NAME)
        except StoreError:
            return None


def register_store(
    cache_directory: Path, store: Path, documents: Mapping[str, bytes] | None = None
) -> None:
    """Note that a store uses this cache, and its metadata once they are known."""
    path = _entry_path(cache_directory, store)
    if documents is None and path.exists():
        return
    body = {
        "store": str(store.resolve()),
        "documents": {name: data.decode() for name, data in (documents or {}).items()},
    }
    data = to_json({**body, "digest": digest(to_json(body))})
    if not path.exists() or path.read_bytes() != data:
        replace_file(path, [data])


def recall_store(cache_directory: Path, store: Path) -> RegisteredStore | None:
    """What is known of a store; None if nothing, or nothing that can be trusted."""
    return _read(_entry_path(cache_directory, store))


def registered_stores(cache_directory: Path) -> Iterator[tuple[Path, RegisteredStore | None]]:
    """Every entry with its file; None where the entry is damaged."""
    for path in sorted((cache_directory / "stores").glob("*.json")):
        yield path, _read(path)


def _entry_path(cache_directory: Path, store: Path) -> Path:
    name = digest(str(store.resolve()).encode("utf-8", "surrogateescape"))[:32]
    return cache_directory / "stores" / f"{name}.json"


def _read(path: Path) -> RegisteredStore | None:
    try:
        body = json.loads(path.read_bytes())
        if body.pop("digest") != digest(to_json(body)):
            return None
        documents = {name: text.encode() for name, text in body["documents"].items()}
        return RegisteredStore(Path(body["store"]), documents)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
