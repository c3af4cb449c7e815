"""`excludes.yaml`: examples that somebody looked at and wants left out, each with the reason.

The file maps a dataset to its entries. An entry names one example by split and index, or pictures
by their path (`*` and `?` as in a shell, `*` also across folders), in one split or in all:

    agora:
      - {split: train, index: 17, reason: left and right are swapped}
      - {source: "agora_downscaled/s3/*", reason: the camera was moved}

An entry that says nothing of this data is an error: it is a slip, or meant for other data.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from errors import ConfigError
from pipeline.columns import DatasetColumns, SplitColumns
from pipeline.datasets import DATASETS
from pipeline.schema import SPLITS, Status
from stages.settings import PARAMS_PATH, load_params

# By split and row, the reason why an example is left out.
Excluded = Mapping[str, Mapping[int, str]]

_KEYS = ("split", "index", "source", "reason")
_LINE = "__line__"
_EXAMPLE = "- {split: train, index: 17, reason: left and right are swapped}"


@dataclass(frozen=True, slots=True)
class Exclude:
    """One entry.

    Attributes:
        place: file and line, for messages.
        split: None: any; only where `source` is given.
        index: row of the split, None where `source` is given.
        source: path of a picture as the store has it, or a pattern of such paths.
        reason: why; it is what `inspect` and the manifest say of the example.
    """

    place: str
    split: str | None
    index: int | None
    source: str | None
    reason: str

    def to_json(self) -> list[Any]:
        """All that a store depends on."""
        return [self.split, self.index, self.source, self.reason]


def load_excludes(
    path: Path | None, dataset: str, *, params: Path = PARAMS_PATH
) -> tuple[Exclude, ...]:
    """The entries of one dataset; none where there is no file.

    Raises:
        ConfigError: the file cannot be read or is not what it should be, in any dataset's entries.
    """
    if path is None or not path.exists():
        return ()
    document = _parse(path)
    if document is None:
        return ()
    if not isinstance(document, dict):
        raise _misshapen("excludes.yaml must map each dataset to its entries", str(path))
    document.pop(_LINE)
    _check_datasets(document, dataset, path, params)
    found = {name: tuple(_entries(path, name, value)) for name, value in document.items()}
    return found.get(dataset, ())


def find_excluded(
    excludes: Sequence[Exclude], sources: Mapping[str, Sequence[str]], *, dataset: str
) -> Excluded:
    """The examples that the entries name.

    Args:
        sources: path of every example's picture, by split.

    Raises:
        ConfigError: an entry names no example, or one that another entry names too.
    """
    found: dict[str, dict[int, str]] = {}
    named_by: dict[tuple[str, int], Exclude] = {}
    for exclude in excludes:
        examples = list(_examples(exclude, sources))
        if not examples:
            raise _nothing_matches(exclude, sources, dataset)
        for split, row in examples:
            other = named_by.setdefault((split, row), exclude)
            if other is not exclude:
                raise ConfigError(
                    f"an example is excluded twice: {split}[{row}] of {dataset}",
                    where=f"{other.place} and {exclude.place}",
                    cause="two entries name it, so that there would be two reasons",
                    next_command="remove one of the two entries",
                )
            found.setdefault(split, {})[row] = exclude.reason
    return found


def without(columns: DatasetColumns, excluded: Excluded) -> DatasetColumns:
    """The same columns, the excluded examples having the status and reason that say so."""
    splits = {
        name: _mark(split, excluded[name]) if excluded.get(name) else split
        for name, split in columns.splits.items()
    }
    return replace(columns, splits=splits)


def _mark(split: SplitColumns, excluded: Mapping[int, str]) -> SplitColumns:
    status = np.array(split.arrays["status"])
    status[list(excluded)] = Status.EXCLUDED
    return replace(
        split,
        arrays={**split.arrays, "status": status},
        details={**split.details, **excluded},
    )


def _examples(exclude: Exclude, sources: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, int]]:
    if exclude.index is not None:
        assert exclude.split is not None
        if exclude.index < len(sources.get(exclude.split, ())):
            yield exclude.split, exclude.index
        return
    assert exclude.source is not None
    pattern = re.compile(fnmatch.translate(exclude.source))
    for split, paths in sources.items():
        if exclude.split in (None, split):
            for row, path in enumerate(paths):
                if path == exclude.source or pattern.match(path):
                    yield split, row


def _nothing_matches(
    exclude: Exclude, sources: Mapping[str, Sequence[str]], dataset: str
) -> ConfigError:
    sizes = ", ".join(f"{name} {len(paths)}" for name, paths in sources.items())
    what = f"{exclude.split}[{exclude.index}]"
    cause = f"{dataset} has these numbers of examples: {sizes}; the first one is 0"
    if exclude.source is not None:
        what = f"source {exclude.source!r}"
        known = [p for n, paths in sources.items() if exclude.split in (None, n) for p in paths]
        close = difflib.get_close_matches(exclude.source, known[:2000], n=1)
        cause = f"paths look like {(close or known or ['(there is none)'])[0]!r}"
    return ConfigError(
        f"an entry excludes nothing: {dataset} has no {what}",
        where=exclude.place,
        cause=cause,
        next_command="mend or remove the entry; `cli.py view` and `cli.py inspect` say split, "
        "index and path of an example",
    )


def _parse(path: Path) -> Any:
    try:
        # The loader is a safe one: see `_Loader`.
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "cannot read the list of excluded examples", where=str(path), cause=str(error)
        ) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise _misshapen(
            "excludes.yaml is not YAML" if error.context != _LINE else str(error.problem),
            f"{path}, line {mark.line + 1}" if mark else str(path),
            cause=error.problem if error.context != _LINE else "one would hide the other",
        ) from error
    except yaml.YAMLError as error:
        raise _misshapen("excludes.yaml is not YAML", str(path), cause=str(error)) from error


def _check_datasets(document: Mapping[Any, Any], dataset: str, path: Path, params: Path) -> None:
    known = {dataset, *DATASETS}
    if document.keys() <= known:
        return
    known |= set(load_params(params).get("datasets") or ())
    for name in document:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean `{close[0]}`?" if close else f"known: {', '.join(sorted(known))}"
            raise ConfigError(
                f"there is no dataset `{name}`",
                where=str(path),
                cause=hint,
                next_command="mend the name, or add the dataset to `datasets` in params.yaml",
            )


def _entries(path: Path, dataset: str, entries: Any) -> Iterator[Exclude]:
    if entries is None:
        return
    if not isinstance(entries, list):
        raise _misshapen(f"the entries of {dataset} must be a list", str(path))
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise _misshapen(f"{dataset}, entry {number + 1} is not a mapping", str(path))
        yield _entry(f"{path}, line {entry.pop(_LINE)}", entry)


def _entry(place: str, entry: Mapping[Any, Any]) -> Exclude:
    for key in entry:
        if key not in _KEYS:
            close = difflib.get_close_matches(str(key), _KEYS, n=1)
            hint = f"did you mean `{close[0]}`?" if close else f"known: {', '.join(_KEYS)}"
            raise _misshapen(f"unknown key `{key}`", place, cause=hint)
    split, index, source, reason = (entry.get(key) for key in _KEYS)
    if not isinstance(reason, str) or not reason.strip():
        raise _misshapen("an excluded example needs a reason", place)
    if (index is None) == (source is None):
        raise _misshapen("an entry needs either an `index` or a `source`", place)
    if split is not None and split not in SPLITS:
        raise _misshapen(f"there is no split `{split}`", place, cause=f"known: {', '.join(SPLITS)}")
    if index is not None and (type(index) is not int or index < 0):
        raise _misshapen(f"`index` must be a row number from 0 on, not {index!r}", place)
    if index is not None and split is None:
        raise _misshapen("an `index` needs the `split` that it counts in", place)
    if source is not None and (not isinstance(source, str) or not source):
        raise _misshapen(f"`source` must be a path or a pattern of paths, not {source!r}", place)
    return Exclude(place, split, index, source, " ".join(reason.split()))


def _misshapen(what: str, where: str, *, cause: str | None = None) -> ConfigError:
    return ConfigError(
        what, where=where, cause=cause, next_command=f"write entries such as  {_EXAMPLE}"
    )


class _Loader(yaml.SafeLoader):
    """Plain values only; each mapping knows its line, and says no key twice."""


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    mapping: dict[Any, Any] = {_LINE: node.start_mark.line + 1}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str) or key in mapping:
            problem = f"`{key}` stands here twice" if isinstance(key, str) else "this is no name"
            raise yaml.MarkedYAMLError(_LINE, None, problem, key_node.start_mark)
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)
