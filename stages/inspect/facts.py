"""The facts about a store as one JSON-like document; no shard is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cache.layout import ColumnLayout
from cache.reader import Store

Facts = dict[str, Any]
COUNT = "examples"


def store_facts(store: Store) -> Facts:
    """Splits, columns with their layout and sizes, skeleton, provenance, and what is damaged.

    Every shard's length is compared with the manifest by stat; contents are not read.

    Raises:
        StoreError: a `zarr.json` is missing or altered.
    """
    attributes = store.attributes
    columns = {
        name: _column_facts(store, name) for name in next(iter(store.splits.values())).columns
    }
    stored = sum(column["stored_bytes"] for column in columns.values())
    raw = sum(column["raw_bytes"] for column in columns.values())
    return {
        "store": str(store.path),
        "dataset": attributes["dataset"],
        "kind": attributes["kind"],
        "schema_version": attributes["schema_version"],
        "frame": attributes["frame"],
        "units": attributes["units"],
        "splits": {name: _split_facts(store, name) for name in store.splits},
        "columns": columns,
        "stored_bytes": stored,
        "raw_bytes": raw,
        "ratio": _ratio(raw, stored),
        "skeleton": _skeleton_facts(attributes),
        "provenance": attributes["provenance"],
        "damaged": damaged_shards(store),
    }


def damaged_shards(store: Store) -> list[Facts]:
    """Shards that are missing or not as long as the manifest says, in the order of the manifest."""
    damaged = []
    for split_name, split in store.manifest.splits.items():
        layouts = store.splits[split_name].columns
        for number, block in enumerate(split.blocks):
            for column, record in block.shards.items():
                if record is None:
                    continue
                path = f"{split_name}/{layouts[column].shard_path(number)}"
                try:
                    length = (store.path / path).stat().st_size
                except OSError:
                    length = None
                if length != record.length:
                    rows = [block.start, block.stop]
                    damaged.append(
                        {"shard": path, "rows": rows, "length": length, "expected": record.length}
                    )
    return damaged


def _split_facts(store: Store, name: str) -> Facts:
    split = store.manifest.splits[name]
    return {
        "read": split.n_rows,
        "usable": split.n_usable,
        "rejected": store.manifest.rejected_by_reason(name),
        "blocks": len(split.blocks),
    }


def _column_facts(store: Store, name: str) -> Facts:
    layouts = {split: store.splits[split].columns[name] for split in store.splits}
    layout = next(iter(layouts.values()))
    stored, n_shards = 0, 0
    for split in store.manifest.splits.values():
        for block in split.blocks:
            record = block.shards[name]
            if record is not None:
                stored, n_shards = stored + record.length, n_shards + 1
    n_rows = sum(len(split) for split in store.splits.values())
    raw = n_rows * layout.row_bytes
    return {
        "dtype": layout.dtype,
        "row_shape": list(layout.row_shape),
        "fill": layout.fill,
        "chunk_rows": layout.chunk_rows,
        "shard_rows": layout.shard_rows,
        "shards": n_shards,
        "codecs": _codec_names(layout),
        "stored_bytes": stored,
        "raw_bytes": raw,
        "ratio": _ratio(raw, stored),
    }


def _codec_names(layout: ColumnLayout) -> list[str]:
    inner = layout.array_metadata(0)["codecs"][0]["configuration"]["codecs"]
    return [str(codec["name"]) for codec in inner]


def _ratio(raw: int, stored: int) -> float | None:
    return round(raw / stored, 2) if stored else None


def _skeleton_facts(attributes: Mapping[str, Any]) -> Facts:
    names, mirror = attributes["joint_names"], attributes["mirror"]
    return {
        "joint_names": list(names),
        "edges": [[names[i], names[j]] for i, j in attributes["edges"]],
        "twins": [[names[i], names[j]] for i, j in enumerate(mirror) if i < j],
        "root_name": attributes["root_name"],
        "points": "surface" if attributes["kind"] == "dense" else "joints",
    }


def to_json_value(value: Any) -> Any:
    """Arrays and numpy scalars as what JSON knows; NaN and infinities as text."""
    if isinstance(value, np.ndarray | np.generic):
        return to_json_value(value.tolist())
    if isinstance(value, list | tuple):
        return [to_json_value(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value
