"""Facts as tables for a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stages.inspect.facts import Facts

_MAX_VALUE = 96


def print_store(console: Console, facts: Facts) -> None:
    """Splits, columns, skeleton, provenance."""
    console.print(
        Text(f"{facts['dataset']}", style="bold")
        + f"  {facts['kind']}, schema {facts['schema_version']}, {facts['store']}"
    )
    console.print(_splits_table(facts))
    console.print(_columns_table(facts))
    _print_pairs(console, _skeleton_lines(facts))
    _print_pairs(console, _provenance_lines(facts))


def print_example(console: Console, facts: Facts) -> None:
    """Every value of one example and where its bytes lie."""
    console.print(Text(f"{facts['split']}[{facts['row']}]", style="bold") + f"  {facts['store']}")
    origin = facts["came_from"]
    pairs = [
        ("status", _short(facts["status"] + (f": {facts['reason']}" if facts["reason"] else ""))),
        ("picture", _short(origin["picture"]) or "(no path)"),
        ("pickle", f"{origin['pickle']}, {origin['expression']}"),
        ("", f"sha256 {origin['pickle_sha256']}"),
    ]
    _print_pairs(console, pairs)
    table = _table("column", "value", "file", "offset", "length", "crc32c", "row")
    for name in ("offset", "length", "row"):
        next(c for c in table.columns if c.header == name).justify = "right"
    for name, column in facts["columns"].items():
        place = column["bytes"]
        cells = ["only fill values", "", "", "", ""]
        if place is not None:
            cells = [place["file"], f"{place['offset']:,}", f"{place['length']:,}"]
            cells += [place["crc32c"], str(place["row_in_chunk"])]
        table.add_row(name, Text(_short(column["value"])), *cells)
    console.print(table)
    console.print(Text("row: of the example within its chunk. Whole values: --json", style="dim"))


def size_text(n_bytes: int) -> str:
    """Bytes for people."""
    size = float(n_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _splits_table(facts: Facts) -> Table:
    table = _table("split", "read", "usable", "rejected", "reasons", "blocks")
    for name in ("read", "usable", "rejected", "blocks"):
        next(c for c in table.columns if c.header == name).justify = "right"
    for name, split in facts["splits"].items():
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in split["rejected"].items())
        table.add_row(
            name,
            f"{split['read']:,}",
            f"{split['usable']:,}",
            f"{sum(split['rejected'].values()):,}",
            reasons,
            str(split["blocks"]),
        )
    return table


def _columns_table(facts: Facts) -> Table:
    table = _table("column", "dtype", "row", "chunk", "shard", "codecs", "stored", "raw", "ratio")
    for name in ("chunk", "shard", "stored", "raw", "ratio"):
        next(c for c in table.columns if c.header == name).justify = "right"
    for name, column in facts["columns"].items():
        table.add_row(
            name,
            column["dtype"],
            "×".join(map(str, column["row_shape"])) or "scalar",
            str(column["chunk_rows"]),
            str(column["shard_rows"]),
            " ".join(column["codecs"]),
            size_text(column["stored_bytes"]) if column["shards"] else "only fill",
            size_text(column["raw_bytes"]),
            _ratio_text(column["ratio"]),
        )
    table.add_section()
    table.add_row(
        "all", "", "", "", "", "", size_text(facts["stored_bytes"]), size_text(facts["raw_bytes"]),
        _ratio_text(facts["ratio"]), style="bold",
    )  # fmt: skip
    return table


def _skeleton_lines(facts: Facts) -> Sequence[tuple[str, str]]:
    skeleton = facts["skeleton"]
    names = skeleton["joint_names"]
    return [
        ("joints", f"{len(names)}: {' '.join(names)}"),
        ("edges", " ".join(f"{a}-{b}" for a, b in skeleton["edges"])),
        ("root", skeleton["root_name"] or "none"),
    ]


def _provenance_lines(facts: Facts) -> Sequence[tuple[str, str]]:
    provenance: Mapping[str, Any] = facts["provenance"]
    return [(key.replace("_", " "), _short(value)) for key, value in provenance.items()]


def _print_pairs(console: Console, pairs: Sequence[tuple[str, str]]) -> None:
    grid = Table.grid(padding=(0, 2))
    for key, value in pairs:
        grid.add_row(Text(key, style="dim"), Text(value))
    console.print(grid)
    console.print()


def _table(*headers: str) -> Table:
    return Table(*headers, box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")


def _ratio_text(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.1f}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = "".join(c if c.isprintable() else "�" for c in text)  # no escape reaches the terminal
    return text if len(text) <= _MAX_VALUE else f"{text[: _MAX_VALUE - 1]}…"
