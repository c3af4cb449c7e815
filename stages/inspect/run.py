"""`inspect`: print the facts about a store or one of its examples."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cache.reader import Store
from errors import StoreError
from stages.inspect.example import example_facts
from stages.inspect.facts import store_facts

_PIPE_WIDTH = 160


def inspect(path: Path, *, split: str | None, row: int | None, as_json: bool) -> None:
    """Print the facts about the store, or about row `row` of `split`, on standard output.

    Raises:
        StoreError: there is no store; or, after printing, shards are missing or cut.
        ConfigError: there is no such row.
    """
    store = Store.open(path)
    facts = store_facts(store) if row is None else example_facts(store, split, row)
    if as_json:
        sys.stdout.write(json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    else:
        from rich.console import Console

        from stages.inspect.tables import print_example, print_store

        console = Console(highlight=False, markup=False, emoji=False)
        if not console.is_terminal:
            console.width = _PIPE_WIDTH  # a file has no width; 80 columns would wrap every line
        (print_store if row is None else print_example)(console, facts)
    if damaged := facts.get("damaged"):
        first = damaged[0]
        raise StoreError(
            f"{len(damaged)} of the store's shards are missing or cut",
            where=f"{path / first['shard']}, rows {first['rows'][0]} to {first['rows'][1] - 1}"
            + (" and others" if len(damaged) > 1 else ""),
            cause="they were deleted or cut after they were written",
            next_command=f"run `cli.py verify --repair {path}`",
        )
