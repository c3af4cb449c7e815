"""`verify --repair`: only what is damaged is replaced, and all is proven by digest afterwards.

A store and the block cache share files by hard links: a bit that flipped in one has flipped in the
other. So a cached block is taken only if its digests are right, and built from the source if not.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache.blocks import Block, BlockCache
from cache.check import StoreCheck
from cache.layout import ColumnLayout, layout_from_metadata
from cache.locks import cache_lock, store_lock
from cache.manifest import MANIFEST_NAME, BlockRecord, Manifest
from cache.publish import expected_shards, metadata_documents, publish, recover
from cache.registry import recall_store, register_store
from cache.shards import digest
from cache.stat_cache import StatCache
from errors import ConfigError, SourceError, StoreError
from pipeline.schema import SPLITS, Status
from stages.prepare.excludes import load_excludes
from stages.prepare.planning import StorePlan, plan_store
from stages.prepare.run import leave_out, stat_name, write_store
from stages.prepare.settings import DatasetFiles, PrepareSettings
from stages.prepare.source import Source, read_source
from stages.verify.run import VerifyReport, finish_check

BlockPlace = tuple[str, int]  # split, number
_SHOWN = 20
FindFiles = Callable[[str], DatasetFiles]


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair did.

    Attributes:
        found: what was wrong before.
        left: what is wrong now; damage is not, but what was written may break an invariant.
        blocks_from_cache, blocks_from_source: where replaced shards came from.
        was_compared: False if the manifest itself was lost, so that the store was made anew from
            the source and could not be compared with what it was.
    """

    found: VerifyReport
    left: VerifyReport
    blocks_from_cache: int = 0
    blocks_from_source: int = 0
    was_compared: bool = True

    @property
    def mended_files(self) -> tuple[str, ...]:
        """The files that were put right, by their paths in the store."""
        return tuple(dict.fromkeys(f.file for f in self.found.findings if f.is_damage))

    def summary(self) -> str:
        """A few lines for people."""
        if not self.mended_files:
            return f"nothing to repair\n{self.left.summary()}"
        lines = [f"repaired: {path}" for path in self.mended_files[:_SHOWN]]
        if len(self.mended_files) > _SHOWN:
            lines.append(f"... and {len(self.mended_files) - _SHOWN} more files")
        lines.append(
            f"{self.blocks_from_cache} blocks from the cache, "
            f"{self.blocks_from_source} built from the source"
            if self.was_compared
            else "the manifest was lost: the whole store was made anew from the source"
        )
        return "\n".join([*lines, self.left.summary()])

    def to_json(self) -> dict[str, Any]:
        return {
            **self.left.to_json(),
            "repaired": {
                "found": self.found.to_json()["findings"],
                "files": list(self.mended_files),
                "blocks_from_cache": self.blocks_from_cache,
                "blocks_from_source": self.blocks_from_source,
                "was_compared": self.was_compared,
            },
        }


def verify_and_repair(
    store: Path, *, settings: PrepareSettings, find_files: FindFiles, n_jobs: int = 1
) -> RepairReport:
    """Check a store and put right what is damaged.

    Args:
        store: path of the store.
        find_files: the pickle and pictures of a dataset, by its name; asked only if the cache does
            not hold what is needed.

    Raises:
        StoreError: what is damaged is neither in the cache nor to be had from the source, or it
            cannot be written.
        BusyError: somebody is preparing this store.
    """
    store = store.resolve()
    with (
        store_lock(store, timeout_s=settings.lock_timeout_s),
        cache_lock(settings.cache, exclusive=False),
    ):
        recover(store)
        noted = recall_store(settings.cache, store)
        documents = noted.documents if noted is not None else {}
        check = StoreCheck.open(store, documents)
        found = finish_check(check, n_jobs=n_jobs)
        if not any(finding.is_damage for finding in found.findings):
            return RepairReport(found, found)
        attributes = check.attributes or _guessed_attributes(store, documents)
        source = _LazySource(store, attributes, settings, find_files, check.manifest)
        if check.manifest is None:
            source.write_store(n_jobs)
            from_cache, from_source = 0, 0
        else:
            from_cache, from_source = _replace(store, check, found, source)
        left = finish_check(StoreCheck.open(store), n_jobs=n_jobs)
        if any(finding.is_damage for finding in left.findings):
            raise StoreError(
                "the store was repaired and is damaged again",
                where=", ".join(dict.fromkeys(f.file for f in left.findings if f.is_damage)),
                cause="the disk does not keep what is written to it",
                next_command="check the disk, then run the same command again",
            )
        return RepairReport(found, left, from_cache, from_source, check.manifest is not None)


def _replace(
    store: Path, check: StoreCheck, found: VerifyReport, source: _LazySource
) -> tuple[int, int]:
    """Publish the store that the manifest names; how many blocks came from cache and source."""
    manifest = check.manifest
    assert manifest is not None
    documents = _whole_documents(check, manifest, source)
    layouts = _layouts(documents)
    source.layouts = layouts
    bad_files = {finding.file for finding in found.findings if finding.is_damage}
    unchecked = {layout.name for layout in layouts} - check.layouts.keys()
    files: dict[str, bytes | Path] = {**documents, MANIFEST_NAME: manifest.to_bytes()}
    bad_shards: dict[str, tuple[BlockPlace, str]] = {}
    for path in expected_shards(manifest, layouts):
        split, column, _, number = path.split("/")[:4]
        if path in bad_files or column in unchecked:
            bad_shards[path] = ((split, int(number)), column)
        else:
            files[path] = store / path
    records = {
        place: manifest.splits[place[0]].blocks[place[1]] for place, _ in bad_shards.values()
    }
    blocks = _whole_blocks(records, source)
    for path, (place, column) in bad_shards.items():
        files[path] = blocks[place].directory / column
    publish(files, store)
    register_store(
        source.settings.cache, store, {p: f for p, f in files.items() if isinstance(f, bytes)}
    )
    n_cached = sum(block.was_cached for block in blocks.values())
    return n_cached, len(blocks) - n_cached


def _whole_documents(
    check: StoreCheck, manifest: Manifest, source: _LazySource
) -> dict[str, bytes]:
    """Every metadata file: as it is, as it was noted in the cache, or made anew."""
    documents = dict(check.documents)
    missing = manifest.metadata.keys() - documents.keys()
    if missing:
        source.layouts = list(check.layouts.values())
        plan = source.plan()
        n_rows = {name: split.n_rows for name, split in manifest.splits.items()}
        made = metadata_documents(plan.attributes, plan.layouts, n_rows)
        for path in missing:
            if digest(made.get(path, b"")) != manifest.metadata[path].digest:
                raise source.changed(path)
            documents[path] = made[path]
    return documents


def _whole_blocks(
    records: Mapping[BlockPlace, BlockRecord], source: _LazySource
) -> dict[BlockPlace, Block]:
    """Blocks of the cache where their digests are right, else built from the source."""
    blocks: dict[BlockPlace, Block] = {}
    if not records:
        return blocks
    with BlockCache(source.settings.cache, by_digest=True) as cache:
        for place, record in records.items():
            cached = cache.find(record.key)
            if cached is not None and cached.shards == record.shards:
                blocks[place] = cached
        missing = {place: r for place, r in records.items() if place not in blocks}
        for place, block in source.build(cache, missing):
            blocks[place] = block
        cache.flush()
    return blocks


class _LazySource:
    """The pickle and pictures a store was made from, looked at only if they are needed."""

    def __init__(
        self,
        store: Path,
        attributes: Mapping[str, Any],
        settings: PrepareSettings,
        find_files: FindFiles,
        manifest: Manifest | None,
    ) -> None:
        self.settings = settings
        self.layouts: Sequence[ColumnLayout] = ()
        self._store = store
        self._find_files = find_files
        self._manifest = manifest
        self._dataset = str(attributes.get("dataset", store.stem))
        parameters = attributes.get("provenance", {}).get("parameters", {})
        self._has_images = bool(parameters.get("images", True))

    def plan(self) -> StorePlan:
        """The plan of the store, cut as it is cut.

        Raises:
            StoreError: the source is not known or cannot be read.
        """
        settings = self.settings
        for layout in self.layouts:
            if layout.chunk_rows > 1:
                settings = dataclasses.replace(
                    settings, rows_per_block=layout.shard_rows, rows_per_chunk=layout.chunk_rows
                )
        try:
            files = self._find_files(self._dataset)
            images = files.images.resolve() if self._has_images else None
            source = self._leave_out(read_source(self._dataset, files), images)
            self._stats = StatCache(settings.cache / "stat" / stat_name(images))
            return plan_store(self._dataset, source, settings, images=images, stats=self._stats)
        except (ConfigError, SourceError) as error:
            raise self._unavailable(error) from error

    def build(
        self, cache: BlockCache, missing: Mapping[BlockPlace, BlockRecord]
    ) -> Iterator[tuple[BlockPlace, Block]]:
        """Build the blocks of the given places.

        Raises:
            StoreError: they would not be what they were, or the source cannot be read.
        """
        if not missing:
            return
        places = {(split, r.start): (split, number) for (split, number), r in missing.items()}
        for planned in self.plan().blocks:
            place = places.pop((planned.split, planned.rows.start), None)
            if place is None:
                continue
            try:
                block = cache.build(planned.source, self._stats)
            except SourceError as error:
                raise self._unavailable(error) from error
            if (block.key, block.shards) != (missing[place].key, missing[place].shards):
                raise self.changed(f"split {place[0]}, block {place[1]}")
            yield place, block
        if places:
            raise self.changed(f"split {next(iter(places))[0]} is shorter than it was")

    def write_store(self, n_jobs: int) -> None:
        """Make the whole store anew, as `prepare` does."""
        try:
            files = self._find_files(self._dataset)
            images = files.images.resolve() if self._has_images else None
            source = self._leave_out(read_source(self._dataset, files), images)
        except (ConfigError, SourceError) as error:
            raise self._unavailable(error) from error
        write_store(
            self._dataset,
            source,
            store=self._store,
            settings=self.settings,
            images=images,
            n_jobs=n_jobs,
            must_rebuild=True,
        )

    def _leave_out(self, source: Source, images: Path | None) -> Source:
        """Leave out who was left out when the store was made, whatever has been decided since."""
        if self._manifest is None:
            excludes = load_excludes(self.settings.excludes, self._dataset)
            return leave_out(source, excludes, self._dataset, images=images)
        excluded = {
            name: {
                r.row: r.detail
                for r in split.rejections
                if r.status == Status.EXCLUDED and r.row < source.columns.splits[name].n_rows
            }
            for name, split in self._manifest.splits.items()
        }
        return dataclasses.replace(source, excluded=excluded)

    def changed(self, where: str) -> StoreError:
        return StoreError(
            "cannot repair: the source is not the one that the store was made from",
            where=f"{self._store}: {where}",
            cause="the pickle or a picture has changed since, or another version made the store",
            next_command=f"run `cli.py prepare {self._dataset}` to make the store anew",
        )

    def _unavailable(self, error: ConfigError | SourceError) -> StoreError:
        return StoreError(
            "cannot repair: the cache does not hold what is damaged, and the source cannot be "
            f"read: {error.what}",
            where=error.where or str(self._store),
            cause="the cache shares files with the store, so what damages one damages the other",
            next_command=f"cli.py verify {self._store} --repair --annotations FILE.pkl "
            "--images DIR",
        )


def _guessed_attributes(store: Path, documents: Mapping[str, bytes]) -> Mapping[str, Any]:
    """The attributes of a store whose manifest is lost; they only name the source."""
    for data in (documents.get("zarr.json"), _read(store / "zarr.json")):
        try:
            attributes = json.loads(data or b"")["attributes"]
            if isinstance(attributes, dict):
                return attributes
        except (ValueError, KeyError, TypeError):
            continue
    return {}


def _layouts(documents: Mapping[str, bytes]) -> list[ColumnLayout]:
    """The layouts of all columns; they are the same in every split."""
    prefix, suffix = f"{SPLITS[0]}/", "/zarr.json"
    return [
        layout_from_metadata(path.removeprefix(prefix).removesuffix(suffix), json.loads(data))
        for path, data in documents.items()
        if path.startswith(prefix) and path.count("/") == 2
    ]


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
