"""Everything about one example: its values, where their bytes lie, and where it came from."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from cache.chunks import CRC_BYTES
from cache.reader import Split, Store
from errors import ConfigError
from pipeline.image_files import BrokenImageError, image_size
from stages.inspect.facts import Facts, to_json_value

_SPLIT_NUMBERS = {"train": 0, "valid": 1, "test": 2}  # the pickle's keys


def example_facts(store: Store, split_name: str | None, row: int) -> Facts:
    """Values of one row in every column, and file, offset, length and CRC of each chunk.

    Args:
        split_name: None: the first split that has examples.
        row: a negative one counts from the end.

    Raises:
        ConfigError: there is no such row.
        StoreError: a shard is missing, cut or altered: every CRC is checked.
    """
    split = _split(store, split_name)
    if not -len(split) <= row < len(split):
        raise ConfigError(
            f"split {split.name} has no row {row}", cause=f"its rows are 0 to {len(split) - 1}"
        )
    row %= len(split)
    values = split.gather([row])
    code = int(values["status"][0])
    rejection = next((r for r in split.rejections if r.row == row), None)
    provenance = store.attributes["provenance"]
    return {
        "store": str(store.path),
        "split": split.name,
        "row": row,
        "status": store.attributes["status_names"].get(str(code), str(code)),
        "reason": rejection.detail if rejection else None,
        "came_from": {
            "pickle": provenance["source"],
            "pickle_sha256": provenance["source_sha256"],
            "expression": f"examples[{_SPLIT_NUMBERS[split.name]}][{row}]",
            "picture": _source(split, row),
        },
        "columns": {name: _column_facts(store, split, name, row, values) for name in split.columns},
    }


def _split(store: Store, name: str | None) -> Split:
    filled = [split for split in store.splits.values() if len(split)]
    if not filled:
        raise ConfigError("the store has no examples", where=str(store.path))
    if name is None:
        return filled[0]
    if not len(store.splits[name]):
        raise ConfigError(
            f"split {name} has no examples",
            cause="splits with examples: " + ", ".join(s.name for s in filled),
        )
    return store.splits[name]


def _source(split: Split, row: int) -> str:
    for rejection in split.rejections:
        if rejection.row == row:
            return rejection.source
    return split.blobs("image_path", [row])[0].decode("utf-8", "replace")


def _column_facts(store: Store, split: Split, name: str, row: int, values: Any) -> Facts:
    layout = split.columns[name]
    if name in values and name != "image_path":
        value = to_json_value(values[name][0])
    else:
        value = _blob_facts(name, split.blobs(name, [row])[0])
    facts: Facts = {"dtype": layout.dtype, "row_shape": list(layout.row_shape), "value": value}
    place = split.where(name, row)
    if place is None:
        return {**facts, "bytes": None}
    path, offset, length = place
    return {
        **facts,
        "bytes": {
            "file": path.relative_to(store.path).as_posix(),
            "offset": offset,
            "length": length,
            "crc32c": _stored_crc(path, offset, length),
            "row_in_chunk": row % layout.chunk_rows,
        },
    }


def _blob_facts(name: str, data: bytes) -> Any:
    if name == "image_path":
        return data.decode("utf-8", "replace")
    if name == "mask":
        return data.decode("ascii", "replace")
    facts: Facts = {"length": len(data)}
    if not data:
        return facts
    facts["sha256"] = hashlib.sha256(data).hexdigest()
    try:
        facts["width"], facts["height"] = image_size(data)
    except BrokenImageError as error:
        facts["fault"] = str(error)
    return facts


def _stored_crc(path: Path, offset: int, length: int) -> str:
    """The checksum that ends the stored chunk, which reading the value has found to be right."""
    with path.open("rb") as file:
        file.seek(offset + length - CRC_BYTES)
        return f"{int.from_bytes(file.read(CRC_BYTES), 'little'):08x}"
