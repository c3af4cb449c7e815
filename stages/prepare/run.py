"""`prepare`: read, convert, plan, build the blocks that are missing, publish.

Resume is the only code path: a fresh run is a resume of nothing.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed
from tqdm import tqdm

from cache.blocks import Block, BlockCache
from cache.collect import register_store
from cache.files import remove_abandoned
from cache.locks import cache_lock, store_lock
from cache.manifest import Manifest, Rejection
from cache.publish import StoreContent, publish, read_manifest
from cache.stat_cache import StatCache
from errors import SourceError
from pipeline.columns import DatasetColumns
from pipeline.datasets import DATASETS
from pipeline.schema import BODY_MODELS, GENDERS, SCHEMA_VERSION, SPLITS, Kind, Status
from pipeline.unpickling import begin_read
from stages.prepare.planning import (
    PlannedBlock,
    largest_image,
    plan_blocks,
    plan_layouts,
    plan_widths,
    split_sources,
)
from stages.prepare.settings import DatasetFiles, PrepareSettings
from stages.prepare.transfer import extract_columns, unpack_columns

CONVERTER_VERSION = "1"


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
        is_strict: fail on the first rejected example, leaving what was published before.
        must_rebuild: build every block anew, even if the cache holds it.

    Raises:
        SourceError: the pickle cannot be read, or `is_strict` and an example was rejected.
        StoreError: the store or the cache cannot be written.
        BusyError: another process is preparing this store.
    """
    with (
        store_lock(store, timeout_s=settings.lock_timeout_s, on_wait=_say_waiting),
        cache_lock(settings.cache, exclusive=False),
    ):
        remove_abandoned(store.parent)
        remove_abandoned(settings.cache / "blocks")
        register_store(settings.cache, store)
        columns, provenance = _read(dataset, files)
        if is_strict:
            _refuse_rejected(columns, files)
        images = files.images if with_images else None
        largest = _largest_image(columns, files) if with_images else 0
        widths = plan_widths(columns, largest_image_bytes=largest)
        layouts = plan_layouts(columns.kind, widths, settings)
        attributes = _attributes(dataset, columns, provenance, with_images=with_images)
        planned = plan_blocks(
            columns, layouts, rows_per_block=settings.rows_per_block, images=images
        )
        n_rows = sum(split.n_rows for split in columns.splits.values())
        stats = StatCache(settings.cache / "stat" / _stat_name(images))
        built: dict[str, list[tuple[range, Block]]] = {split: [] for split in SPLITS}
        block_cache = BlockCache(settings.cache, must_rebuild=must_rebuild)
        try:
            for block, result in _built(planned, block_cache, stats, dataset, n_rows, n_jobs):
                if is_strict and result.rejections:
                    rejection = result.rejections[0].shifted(block.rows.start)
                    raise _strict_error(block.split, rejection, files)
                built[block.split].append((block.rows, result))
        finally:
            stats.save()
        status_names = {int(status): status.name.lower() for status in Status}
        was_published = publish(StoreContent(attributes, layouts, status_names, built), store)
        blocks = [block for split in built.values() for _, block in split]
        n_reused = sum(block.was_cached for block in blocks)
        return PrepareReport(
            dataset,
            store,
            read_manifest(store),
            n_built=len(blocks) - n_reused,
            n_reused=n_reused,
            was_published=was_published,
        )


def _read(dataset: str, files: DatasetFiles) -> tuple[DatasetColumns, dict[str, Any]]:
    """Read and convert in a guarded child while this process takes the file's digest."""
    path = files.annotations
    if not path.is_file():
        raise SourceError(
            "the annotations are not there",
            where=str(path),
            cause="the path is wrong, or the sample data was not made yet",
            next_command="run `cli.py sample`, or name the file in params.yaml or by --annotations",
        )
    pending = begin_read(path, extract_columns)
    before = path.stat()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    columns = unpack_columns(pending.result())
    after = path.stat()
    if _version(before) != _version(after):
        raise SourceError(
            "the annotations changed while they were being read",
            where=str(path),
            cause="another program is writing this file",
            next_command="wait until it is done, then run the same command again",
        )
    _check_declaration(dataset, columns, path)
    return columns, {
        "source": path.name,
        "source_bytes": after.st_size,
        "source_sha256": digest,
        "era": columns.era,
        "converter_version": CONVERTER_VERSION,
    }


def _version(stat: os.stat_result) -> tuple[int, ...]:
    return stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns


def _largest_image(columns: DatasetColumns, files: DatasetFiles) -> int:
    """Length of the largest picture; a folder that has none of them is the wrong folder."""
    largest = largest_image(columns, files.images)
    n_wanted = sum(int((s.arrays["status"] == 0).sum()) for s in columns.splits.values())
    if largest == 0 and n_wanted:
        paths = next(
            split_sources(split, images=files.images)
            for split in columns.splits.values()
            if (split.arrays["status"] == 0).any()
        )
        raise SourceError(
            f"none of the {n_wanted} pictures is there",
            where=f"{files.images}; the first one would be {files.images / paths[0]}",
            cause="--images is not the folder that the pickle's image paths are relative to",
            next_command="give the right --images, or --no-images to convert annotations alone",
        )
    return largest


def _check_declaration(dataset: str, columns: DatasetColumns, path: Path) -> None:
    declaration = DATASETS.get(dataset)
    if declaration is None:
        return
    dimensions = 3 if columns.kind in (Kind.KP3D, Kind.PARAM) else 2
    if dimensions != declaration.dimensions:
        raise SourceError(
            f"this is not {dataset}: it holds {dimensions}D annotations, "
            f"{dataset} has {declaration.dimensions}D ones",
            where=str(path),
            cause="the file of another dataset was given",
            next_command=f"look for {declaration.file_name}, or choose another name than {dataset}",
        )
    if columns.skeleton.joint_names != declaration.skeleton.joint_names:
        tqdm.write(
            f"note: {path.name} has other joints ({len(columns.skeleton.joint_names)}) than "
            f"{dataset} is known for ({len(declaration.skeleton.joint_names)}); its own are used",
            file=sys.stderr,
        )


def _built(
    planned: Iterator[PlannedBlock],
    block_cache: BlockCache,
    stats: StatCache,
    dataset: str,
    n_rows: int,
    n_jobs: int,
) -> Iterator[tuple[PlannedBlock, Block]]:
    """Build blocks `n_jobs` at a time, in threads: the work is reading, hashing and compressing."""

    def build(block: PlannedBlock) -> tuple[PlannedBlock, Block]:
        return block, block_cache.build(block.source, stats)

    n_rejected = 0
    with tqdm(total=n_rows, desc=dataset, unit="examples", delay=0.5) as bar:
        parallel = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")
        for block, result in parallel(delayed(build)(block) for block in planned):
            n_rejected += len(result.rejections)
            bar.set_postfix(rejected=n_rejected, refresh=False)
            bar.update(len(block.rows))
            yield block, result


def _attributes(
    dataset: str, columns: DatasetColumns, provenance: Mapping[str, Any], *, with_images: bool
) -> dict[str, Any]:
    skeleton = columns.skeleton
    roots = skeleton.root_candidates
    attributes: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "dataset": dataset,
        "kind": columns.kind.value,
        "point_names": [] if columns.kind is Kind.DENSE else list(skeleton.joint_names),
        "joint_names": list(skeleton.joint_names),
        "edges": [list(edge) for edge in skeleton.edges],
        "mirror": list(skeleton.mirror),
        "root_name": skeleton.joint_names[roots[0]] if roots else None,
        "units": {"coords3d": "m", "coords2d": "px", "bbox": "px", "extrinsics": "m"},
        "frame": "camera: x right, y down, z forward; pixel (0, 0) is the centre of the top left",
        "status_names": {str(int(status)): status.name.lower() for status in Status},
        "provenance": {**provenance, "parameters": {"images": with_images}},
    }
    if columns.kind is Kind.PARAM:
        attributes |= {"body_models": list(BODY_MODELS), "genders": list(GENDERS)}
    return attributes


def _refuse_rejected(columns: DatasetColumns, files: DatasetFiles) -> None:
    for name, split in columns.splits.items():
        for row, detail in sorted(split.details.items()):
            source = split_sources(split, images=files.images)[row]
            status = int(split.arrays["status"][row])
            raise _strict_error(name, Rejection(row, status, source, detail), files)


def _strict_error(split: str, rejection: Rejection, files: DatasetFiles) -> SourceError:
    reason = Status(rejection.status).name.lower().replace("_", " ")
    return SourceError(
        f"an example is rejected ({reason}): {rejection.detail}",
        where=f"{files.annotations}, split {split}, row {rejection.row}, "
        f"picture {rejection.source or '(none)'}",
        cause="--strict turns the first rejected example into a failure",
        next_command="mend the source, or leave out --strict to keep the row with its reason",
    )


def _say_waiting(owner: str) -> None:
    tqdm.write(f"waiting for another prepare of this store ({owner}) ...", file=sys.stderr)


def _stat_name(images: Path | None) -> str:
    return hashlib.sha256(str(images and images.resolve()).encode()).hexdigest()[:32]


def rejected_lines(manifest: Manifest, *, at_most: int = 10) -> Sequence[str]:
    """The first rejected examples of a store, a line each, for people."""
    lines = [
        f"{name}[{r.row}] {manifest.status_names[r.status]}: {r.detail} ({r.source})"
        for name, split in manifest.splits.items()
        for r in split.rejections
    ]
    more = len(lines) - at_most
    return lines if more <= 0 else [*lines[:at_most], f"... and {more} more, in manifest.json"]
