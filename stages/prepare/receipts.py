"""What the last `prepare` of a store was given, so that the next can tell that nothing changed.

Reading and converting a pickle takes seconds, comparing digests does not. A receipt is a shortcut
and never a source of truth: whatever it does not vouch for is done the long way. It vouches for a
store only if the pickle's digest, the settings and the program's own code are the same, the store's
manifest is the one that was published then, and every picture is what it was.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cache import chunks
from cache.files import replace_file
from cache.layout import to_json
from cache.manifest import Manifest
from cache.publish import is_current
from cache.reader import Split, Store
from cache.shards import digest, file_digest
from cache.source_files import scan_files
from cache.stat_cache import StatCache, version
from errors import StoreError
from pipeline.schema import Status
from stages.prepare.excludes import Exclude
from stages.prepare.planning import file_column
from stages.prepare.settings import DatasetFiles, PrepareSettings
from stages.settings import PROJECT_ROOT

_CODE = ("cache", "pipeline", "stages/prepare")
_FILE_STATUSES = (Status.MISSING_IMAGE, Status.BROKEN_IMAGE)


@dataclass(frozen=True, slots=True)
class Request:
    """Everything that a store depends on, but for the pictures' contents.

    Attributes:
        path: of the receipt.
        inputs: digest of all else.
    """

    path: Path
    inputs: str


def request(
    dataset: str,
    files: DatasetFiles,
    store: Path,
    settings: PrepareSettings,
    *,
    with_images: bool,
    annotations_digest: str,
    excludes: Sequence[Exclude] = (),
) -> Request:
    """Describe a `prepare` before it has read anything."""
    inputs = {
        "dataset": dataset,
        "annotations": [files.annotations.name, annotations_digest],
        "images": str(files.images.resolve()) if with_images else None,
        "cuts": [settings.rows_per_block, settings.rows_per_chunk],
        "encoder": chunks.ENCODER,
        "code": _code_digest(),
        "excludes": [exclude.to_json() for exclude in excludes],
    }
    name = digest(str(store).encode("utf-8", "surrogateescape"))[:32]
    return Request(settings.cache / "receipts" / name, digest(to_json(inputs)))


def annotations_digest(path: Path, stats: StatCache) -> str | None:
    """SHA-256 of the pickle, from its stat where that is known; None if it cannot be read."""
    try:
        before = path.stat()
        known = stats.find(str(path), before)
        if known is not None:
            return known.hex()
        found = file_digest(path)
        if version(path.stat()) == version(before):
            stats.remember(str(path), before, bytes.fromhex(found))
        return found
    except OSError:
        return None


def still_valid(
    asked: Request, store: Path, stats: StatCache, *, images: Path | None
) -> Manifest | None:
    """The store's manifest, if it is what `prepare` would publish again."""
    try:
        noted = asked.path.read_bytes().decode().split()
    except (OSError, UnicodeDecodeError):
        return None
    if len(noted) != 3 or noted[0] != asked.inputs:
        return None
    try:
        opened = Store.open(store)
        if digest(opened.manifest.to_bytes()) != noted[1]:
            return None
        layouts = list(opened.splits["train"].columns.values())
        if not is_current(store, opened.manifest, layouts):
            return None
        if images is not None and _pictures(opened, stats, images) != noted[2]:
            return None
    except StoreError:
        return None
    return opened.manifest


def leave(asked: Request, store: Path, stats: StatCache, *, images: Path | None) -> None:
    """Note that `store` is what this request gives."""
    stats.save()
    opened = Store.open(store)
    pictures = _pictures(opened, stats, images) if images is not None else "-"
    if pictures is not None:
        noted = f"{asked.inputs} {digest(opened.manifest.to_bytes())} {pictures}\n"
        replace_file(asked.path, [noted.encode()])


def _pictures(store: Store, stats: StatCache, images: Path) -> str | None:
    """Digest of what every picture of a store is now; None if one must be read to be known."""
    files = file_column(images)
    hashed = hashlib.sha256()
    for split in store.splits.values():
        identities, _ = scan_files(files, _paths(split), stats)
        for identity in identities:
            if identity is None:
                return None
            hashed.update(bytes([len(identity)]) + identity)
    return hashed.hexdigest()


def _paths(split: Split) -> list[str | None]:
    """The picture of each row, None where the annotation alone made it unusable."""
    rejected = {rejection.row: rejection for rejection in split.rejections}
    paths: list[str | None] = []
    for row, name in enumerate(split.column("image_path")):
        rejection = rejected.get(row)
        if rejection is None:
            paths.append(name.tobytes().rstrip(b"\0").decode("utf-8"))
        else:
            paths.append(rejection.source if rejection.status in _FILE_STATUSES else None)
    return paths


def _code_digest() -> str:
    """Digest of the program's own files, so that a new version never trusts an old receipt."""
    hashed = hashlib.sha256()
    for folder in _CODE:
        for path in sorted((PROJECT_ROOT / folder).rglob("*.py")):
            hashed.update(os.fsencode(path.name) + path.read_bytes())
    return hashed.hexdigest()
