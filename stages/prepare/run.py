"""`prepare`: read, convert, plan, build the blocks that are missing, publish.

Resume is the only code path: a fresh run is a resume of nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed
from tqdm import tqdm

from cache.blocks import Block, BlockCache, block_is_intact
from cache.files import remove_abandoned
from cache.locks import cache_lock, store_lock
from cache.manifest import MANIFEST_NAME, Manifest, Rejection
from cache.publish import StoreContent, is_current, publish, recover
from cache.registry import register_store
from cache.stat_cache import StatCache
from errors import SourceError
from pipeline.schema import SPLITS, Status
from stages.prepare import receipts
from stages.prepare.excludes import Exclude, find_excluded, load_excludes
from stages.prepare.planning import (
    STATUS_NAMES,
    PlannedBlock,
    StorePlan,
    plan_store,
    split_sources,
)
from stages.prepare.settings import DatasetFiles, PrepareSettings
from stages.prepare.source import Source, read_source


@dataclass(frozen=True, slots=True)
class PrepareReport:
    """What a `prepare` did.

    Attributes:
        manifest: of the published store.
        n_built: blocks that had to be built.
        n_reused: blocks that the cache already held.
        was_published: whether the store had to be written; False if it was up to date.
    """

    dataset: str
    store: Path
    manifest: Manifest
    n_built: int
    n_reused: int
    was_published: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "dataset": self.dataset,
            "store": str(self.store),
            "splits": {
                name: {
                    "read": split.n_rows,
                    "usable": split.n_usable,
                    "rejected": self.manifest.rejected_by_reason(name),
                }
                for name, split in self.manifest.splits.items()
            },
            "blocks": {"built": self.n_built, "reused": self.n_reused},
            "published": self.was_published,
        }


def prepare(
    dataset: str,
    files: DatasetFiles,
    *,
    store: Path,
    settings: PrepareSettings,
    n_jobs: int = 1,
    with_images: bool = True,
    is_strict: bool = False,
    must_rebuild: bool = False,
) -> PrepareReport:
    """Make `store` hold what the pickle and the pictures say.

    Args:
        dataset: its name; a declared one is checked against its declaration.
        files: the pickle and the folder of the pictures.
        n_jobs: blocks built at a time; the result does not depend on it.
        with_images: False leaves the `image` column empty and looks at no picture.
        is_strict: fail on the first rejected example, leaving what was published before. One that
            `excludes.yaml` names is no failure.
        must_rebuild: build every block anew, even if the cache holds it.

    Raises:
        SourceError: the pickle cannot be read, or `is_strict` and an example was rejected.
        StoreError: the store or the cache cannot be written.
        BusyError: another process is preparing this store.
        ConfigError: an entry of `excludes.yaml` is wrong, or names no example.
    """
    excludes = load_excludes(settings.excludes, dataset)
    store = store.resolve()
    images = files.images.resolve() if with_images else None
    with (
        store_lock(store, timeout_s=settings.lock_timeout_s, on_wait=_say_waiting),
        cache_lock(settings.cache, exclusive=False),
    ):
        remove_abandoned(store.parent)
        remove_abandoned(settings.cache / "blocks")
        recover(store)
        register_store(settings.cache, store)
        stats = StatCache(settings.cache / "stat" / stat_name(images))
        annotations = receipts.annotations_digest(files.annotations, stats)
        asked = receipts.request(
            dataset,
            files,
            store,
            settings,
            with_images=with_images,
            annotations_digest=annotations or "",
            excludes=excludes,
        )
        if not must_rebuild and not is_strict:
            manifest = receipts.still_valid(asked, store, stats, images=images)
            if manifest is not None:
                n_blocks = sum(len(split.blocks) for split in manifest.splits.values())
                return PrepareReport(dataset, store, manifest, 0, n_blocks, was_published=False)
        source = leave_out(read_source(dataset, files), excludes, dataset, images=images)
        if is_strict:
            _refuse_rejected(source, files)
        report = write_store(
            dataset,
            source,
            store=store,
            settings=settings,
            images=images,
            n_jobs=n_jobs,
            is_strict=is_strict,
            must_rebuild=must_rebuild,
        )
        if source.provenance.get("source_sha256") == annotations:
            stats = StatCache(settings.cache / "stat" / stat_name(images))
            receipts.annotations_digest(files.annotations, stats)
            receipts.leave(asked, store, stats, images=images)
        return report


def leave_out(
    source: Source, excludes: Sequence[Exclude], dataset: str, *, images: Path | None
) -> Source:
    """The source without the examples that these entries name.

    Raises:
        ConfigError: an entry names no example, or one that another entry names too.
    """
    if not excludes:
        return source
    splits = source.columns.splits.items()
    sources = {name: split_sources(split, images=images) for name, split in splits}
    excluded = find_excluded(excludes, sources, dataset=dataset)
    return dataclasses.replace(source, excluded=excluded)


def write_store(
    dataset: str,
    source: Source,
    *,
    store: Path,
    settings: PrepareSettings,
    images: Path | None,
    n_jobs: int = 1,
    is_strict: bool = False,
    must_rebuild: bool = False,
    by_digest: bool = False,
) -> PrepareReport:
    """The part of `prepare` after reading: plan, build what is missing, publish.

    The caller holds the locks. Cached blocks that look untouched are trusted as long as nothing
    is published. Before that every byte of them is checked, and if one is not what was written, all
    begins again with blocks that are trusted by their digests only.
    """
    stats = StatCache(settings.cache / "stat" / stat_name(images))
    plan = plan_store(dataset, source, settings, images=images, stats=stats)
    built: dict[str, list[tuple[range, Block]]] = {split: [] for split in SPLITS}
    with BlockCache(settings.cache, must_rebuild=must_rebuild, by_digest=by_digest) as cache:
        try:
            for block, result in build_blocks(plan, cache, stats, dataset, n_jobs=n_jobs):
                # Else a kill would cost reading again the pictures of blocks that are done.
                stats.save_soon()
                failed = [r for r in result.rejections if r.status != Status.EXCLUDED]
                if is_strict and failed:
                    rejection = failed[0].shifted(block.rows.start)
                    raise _strict_error(block.split, rejection, source.provenance["source"])
                built[block.split].append((block.rows, result))
        finally:
            stats.save()
        cache.flush()
    content = StoreContent(plan.attributes, plan.layouts, STATUS_NAMES, built)
    manifest = content.manifest()
    documents = {**content.metadata(), MANIFEST_NAME: manifest.to_bytes()}
    register_store(settings.cache, store, documents)
    blocks = [block for split in built.values() for _, block in split]
    must_publish = must_rebuild or not is_current(store, manifest, plan.layouts)
    if must_publish:
        reused = [block for block in blocks if block.was_cached]
        if not by_digest and not all(block_is_intact(block, plan.layouts) for block in reused):
            n_built = len(blocks) - len(reused)
            again = write_store(
                dataset,
                source,
                store=store,
                settings=settings,
                images=images,
                n_jobs=n_jobs,
                is_strict=is_strict,
                by_digest=True,
            )
            return dataclasses.replace(
                again, n_built=again.n_built + n_built, n_reused=again.n_reused - n_built
            )
        publish(content.files(manifest), store)
    n_reused = sum(block.was_cached for block in blocks)
    return PrepareReport(
        dataset,
        store,
        manifest,
        n_built=len(blocks) - n_reused,
        n_reused=n_reused,
        was_published=must_publish,
    )


def build_blocks(
    plan: StorePlan, cache: BlockCache, stats: StatCache, dataset: str, *, n_jobs: int
) -> Iterator[tuple[PlannedBlock, Block]]:
    """Build blocks `n_jobs` at a time, in threads: the work is reading, hashing and compressing.

    They come in the plan's order. When the caller gives up, `cache` stops those under way.
    """

    def build(block: PlannedBlock) -> tuple[PlannedBlock, Block]:
        return block, cache.build(block.source, stats)

    n_rejected = 0
    with tqdm(total=plan.n_rows, desc=dataset, unit="examples", delay=0.5) as bar:
        parallel = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")
        try:
            for block, result in parallel(delayed(build)(block) for block in plan.blocks):
                n_rejected += len(result.rejections)
                bar.set_postfix(rejected=n_rejected, refresh=False)
                bar.update(len(block.rows))
                yield block, result
        except BaseException:
            cache.cancel()
            raise


def stat_name(images: Path | None) -> str:
    """Name of the stat cache of a folder of pictures."""
    return hashlib.sha256(str(images).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _refuse_rejected(source: Source, files: DatasetFiles) -> None:
    for name, split in source.columns.splits.items():
        for row in sorted(split.details.keys() - source.excluded.get(name, {}).keys()):
            path = split_sources(split, images=files.images)[row]
            status = int(split.arrays["status"][row])
            rejection = Rejection(row, status, path, split.details[row])
            raise _strict_error(name, rejection, files.annotations.name)


def _strict_error(split: str, rejection: Rejection, annotations: str) -> SourceError:
    reason = Status(rejection.status).name.lower().replace("_", " ")
    return SourceError(
        f"an example is rejected ({reason}): {rejection.detail}",
        where=f"{annotations}, split {split}, row {rejection.row}, "
        f"picture {rejection.source or '(none)'}",
        cause="--strict turns the first rejected example into a failure",
        next_command="mend the source, or leave out --strict to keep the row with its reason",
    )


def _say_waiting(owner: str) -> None:
    tqdm.write(f"waiting for another prepare of this store ({owner}) ...", file=sys.stderr)


def rejected_lines(manifest: Manifest, *, at_most: int = 10) -> Sequence[str]:
    """The first rejected examples of a store, a line each, for people."""
    lines = [
        f"{name}[{r.row}] {manifest.status_names[r.status]}: {r.detail} ({r.source})"
        for name, split in manifest.splits.items()
        for r in split.rejections
    ]
    more = len(lines) - at_most
    return lines if more <= 0 else [*lines[:at_most], f"... and {more} more, in manifest.json"]
