"""A small store with every kind of column, built the way `prepare` does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.blocks import Block, BlockCache, BlockSource
from cache.layout import ColumnLayout
from cache.publish import StoreContent, is_current, publish
from cache.source_files import FileColumn, scan_files
from cache.stat_cache import StatCache

N_ROWS = 150
ROWS_PER_BLOCK = 64
IMAGE_BYTES = 1 << 18
REJECTED, MISSING, BROKEN = 1, 4, 5
STATUS_NAMES = {0: "usable", REJECTED: "no_valid_point", MISSING: "missing", BROKEN: "broken"}
ROW_REJECTED, ROW_MISSING, ROW_BROKEN = 100, 7, 8
ROW_SAME_FILE, ROW_EQUAL_FILE = 20, 30  # as the one before

LAYOUTS = [
    ColumnLayout("status", "uint8", (), 255, ROWS_PER_BLOCK, 32),
    ColumnLayout("coords3d", "float32", (5, 3), 0, ROWS_PER_BLOCK, 32),
    ColumnLayout("point_validity", "bool", (5,), False, ROWS_PER_BLOCK, 32),
    ColumnLayout("root_index", "int32", (), -1, ROWS_PER_BLOCK, 32),
    ColumnLayout("empty", "float32", (4, 4), 0, ROWS_PER_BLOCK, 32),
    ColumnLayout("image", "uint8", (IMAGE_BYTES,), 0, ROWS_PER_BLOCK, 1),
    ColumnLayout("image_length", "int32", (), 0, ROWS_PER_BLOCK, 32),
]


@dataclass
class SmallSource:
    """Arrays and pictures on disk."""

    images: Path
    arrays: dict[str, npt.NDArray[Any]]
    names: list[str]

    def image(self, row: int) -> bytes:
        return (self.images / self.names[row]).read_bytes()


def make_source(folder: Path, *, seed: int = 0) -> SmallSource:
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    names = [f"{row}.jpg" for row in range(N_ROWS)]
    for row, name in enumerate(names):
        # Some longer than one zstd block of 128 KiB, one exactly as long, one filling its row.
        length = {3: 1 << 17, 4: IMAGE_BYTES}.get(row, int(rng.integers(1, 160_000)))
        if row != ROW_MISSING:
            data = rng.integers(0, 256, length, dtype=np.uint8).tobytes()
            (folder / name).write_bytes(b"" if row == ROW_BROKEN else data)
    names[ROW_SAME_FILE] = names[ROW_SAME_FILE - 1]
    (folder / names[ROW_EQUAL_FILE]).write_bytes((folder / names[ROW_EQUAL_FILE - 1]).read_bytes())
    coords3d = rng.normal(size=(N_ROWS, 5, 3)).astype(np.float32)
    status = np.zeros(N_ROWS, dtype=np.uint8)
    status[ROW_REJECTED] = REJECTED
    arrays = {
        "status": status,
        "coords3d": coords3d,
        "point_validity": coords3d[:, :, 0] > 0,
        "root_index": np.arange(N_ROWS, dtype=np.int32),
    }
    return SmallSource(folder, arrays, names)


def build_blocks(
    source: SmallSource, cache: Path, *, parameters: Mapping[str, Any] | None = None
) -> list[tuple[range, Block]]:
    stats = StatCache(cache / "stat" / "small")
    files = FileColumn(
        column="image",
        length_column="image_length",
        root=source.images,
        max_bytes=IMAGE_BYTES,
        missing_status=MISSING,
        broken_status=BROKEN,
        check=lambda data: (0, "") if data else (BROKEN, "nil"),
    )
    usable = source.arrays["status"] == 0
    paths = [name if ok else None for name, ok in zip(source.names, usable, strict=True)]
    identities, _ = scan_files(files, paths, stats)
    blocks = []
    with BlockCache(cache) as block_cache:
        for start in range(0, N_ROWS, ROWS_PER_BLOCK):
            rows = range(start, min(N_ROWS, start + ROWS_PER_BLOCK))
            part = slice(rows.start, rows.stop)
            block_source = BlockSource(
                layouts=LAYOUTS,
                arrays={name: array[part] for name, array in source.arrays.items()},
                sources=source.names[part],
                details={ROW_REJECTED - start: "nothing"} if ROW_REJECTED in rows else {},
                file_column=files,
                identities=identities[part],
                parameters=parameters or {},
            )
            blocks.append((rows, block_cache.build(block_source, stats)))
        block_cache.flush()
    stats.save()
    return blocks


def publish_small(source: SmallSource, cache: Path, store: Path) -> bool:
    """Build what is missing and publish; whether there was anything to publish."""
    content = StoreContent(
        attributes={"dataset": "small"},
        layouts=LAYOUTS,
        status_names=STATUS_NAMES,
        splits={"train": build_blocks(source, cache), "valid": [], "test": []},
    )
    manifest = content.manifest()
    if is_current(store, manifest, LAYOUTS):
        return False
    publish(content.files(manifest), store)
    return True


def tree_digest(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
