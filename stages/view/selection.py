"""Which rows of a split to look at: by index, by chance, by conditions on named quantities."""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cache.reader import Split
from errors import ConfigError
from pipeline.schema import Kind

Columns = Mapping[str, npt.NDArray[Any]]
_ROWS_AT_A_TIME = 8192
_COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}
_CONDITION = re.compile(r"\s*([a-z_0-9]+)\s*(<=|>=|==|!=|<|>|=)\s*(\S+)\s*")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number per example.

    Attributes:
        meaning: one line, with its unit.
        columns: what it is computed from; a store that lacks one lacks the quantity.
        compute: from those columns, (n,); NaN where an example has no such number.
    """

    meaning: str
    columns: tuple[str, ...]
    compute: Callable[[Columns], npt.NDArray[Any]]


def _depth(columns: Columns) -> npt.NDArray[Any]:
    z, validity, root = (
        columns["coords3d"][..., 2],
        columns["point_validity"],
        columns["root_index"],
    )
    n_valid = validity.sum(axis=1)
    mean = np.where(validity, z, 0).sum(axis=1) / np.maximum(n_valid, 1)
    at_root = np.take_along_axis(z, np.maximum(root, 0)[:, None], axis=1)[:, 0]
    depth = np.where(root >= 0, at_root, np.where(n_valid > 0, mean, np.nan))
    has_camera = columns["intrinsics"][:, 2, 2] != 0
    return np.where(has_camera, depth, np.nan)


def _n_behind(columns: Columns) -> npt.NDArray[Any]:
    is_behind = columns["point_validity"] & (columns["coords3d"][..., 2] <= 0)
    has_camera = columns["intrinsics"][:, 2, 2] != 0
    return np.where(has_camera, is_behind.sum(axis=1), np.nan)


QUANTITIES: Mapping[str, Quantity] = {
    "valid_points": Quantity(
        "annotated points (surface points, in dense datasets)",
        ("point_validity",),
        lambda c: c["point_validity"].sum(axis=1),
    ),
    "valid_joints": Quantity(
        "annotated joints of a dense dataset",
        ("joint_validity",),
        lambda c: c["joint_validity"].sum(axis=1),
    ),
    "depth_m": Quantity(
        "depth of the root, of the mean valid point without one, metres",
        ("coords3d", "point_validity", "root_index", "intrinsics"),
        _depth,
    ),
    "points_behind": Quantity(
        "valid points at or behind the camera",
        ("coords3d", "point_validity", "intrinsics"),
        _n_behind,
    ),
    "root_index": Quantity(
        "place of the root point, -1: none", ("root_index",), lambda c: c["root_index"]
    ),
    "box_width": Quantity("width of the box, pixels", ("bbox",), lambda c: c["bbox"][:, 2]),
    "box_height": Quantity("height of the box, pixels", ("bbox",), lambda c: c["bbox"][:, 3]),
    "focal_px": Quantity(
        "horizontal focal length, pixels; 0: no camera",
        ("intrinsics",),
        lambda c: c["intrinsics"][:, 0, 0],
    ),
    "distortion": Quantity(
        "largest lens coefficient, without its sign; 0: no distortion",
        ("distortion",),
        lambda c: np.abs(c["distortion"]).max(axis=1),
    ),
    "image_bytes": Quantity(
        "length of the encoded picture", ("image_length",), lambda c: c["image_length"]
    ),
    "mask_bytes": Quantity(
        "length of the encoded mask, 0: none", ("mask_length",), lambda c: c["mask_length"]
    ),
    "status": Quantity(
        "0: usable, else the code or name of the reason", ("status",), lambda c: c["status"]
    ),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """A quantity compared with a number, or `status` with a name."""

    quantity: str
    comparison: str
    value: float | str

    def __str__(self) -> str:
        return f"{self.quantity}{self.comparison}{self.value}"


@dataclass(frozen=True, slots=True)
class Selection:
    """What to look at.

    Attributes:
        split: None: the first one that has examples.
        rows: None: all, of which the first few are taken.
        conditions: all must hold. Rejected examples only meet conditions on `status`.
        n_random: that many of what is left, by chance.
        seed: of the chance.
        at_most: more than these are refused.
    """

    split: str | None = None
    rows: slice | None = None
    conditions: tuple[Condition, ...] = ()
    n_random: int | None = None
    seed: int = 0
    at_most: int = 64


@dataclass(frozen=True, slots=True)
class Selected:
    """Rows to look at, ascending, and how many there were to choose from."""

    rows: tuple[int, ...]
    n_found: int


def parse_index(text: str) -> slice:
    """`7` or `A:B` (B excluded, either may be left out, negative ones count from the end).

    Raises:
        ValueError: it is neither.
    """
    match = re.fullmatch(r"\s*(-?\d+)?\s*(:)?\s*(-?\d+)?\s*", text)
    if not match or text.strip() == "" or (match[2] is None and match[3] is not None):
        raise ValueError(f"`{text}` is neither a row such as 7 nor a range such as 0:16")
    start, stop = (None if part is None else int(part) for part in (match[1], match[3]))
    if match[2] is None:
        assert start is not None
        return slice(start, start + 1 if start != -1 else None)
    return slice(start, stop)


def parse_condition(text: str) -> Condition:
    """`valid_points<10`: a name, a comparison, a number.

    Raises:
        ValueError: it is not, or nothing has that name.
    """
    match = _CONDITION.fullmatch(text)
    if not match:
        raise ValueError(f"`{text}` is not a comparison such as `valid_points<10`")
    name, comparison, value = match.groups()
    if name not in QUANTITIES:
        close = difflib.get_close_matches(name, QUANTITIES, n=1)
        hint = f"did you mean `{close[0]}`?" if close else f"known: {', '.join(QUANTITIES)}"
        raise ValueError(f"there is no quantity `{name}`; {hint}")
    try:
        return Condition(name, comparison, float(value))
    except ValueError:
        if name == "status" and comparison in ("=", "==", "!=") and re.fullmatch("[a-z_]+", value):
            return Condition(name, comparison, value)
        raise ValueError(f"`{value}` in `{text}` is not a number") from None


def select_rows(
    split: Split, selection: Selection, *, attributes: Mapping[str, Any], n_default: int
) -> Selected:
    """The rows of a split that are selected.

    Args:
        attributes: of the store.
        n_default: how many rows are taken where nothing says which.

    Raises:
        ConfigError: a row is out of range, nothing is selected, or too much.
    """
    rows = _rows_by_index(split, selection.rows)
    if selection.conditions:
        rows = rows[_all_hold(split, rows, selection.conditions, attributes)]
    if not len(rows):
        conditions = " and ".join(str(c) for c in selection.conditions)
        raise ConfigError(
            f"no example of split {split.name} has {conditions}"
            if conditions
            else f"split {split.name} has no such rows: it has {len(split)}",
            next_command="choose other rows, another --split or other conditions",
        )
    n_found = len(rows)
    if selection.n_random is not None:
        rng = np.random.default_rng(selection.seed)
        rows = np.sort(rng.permutation(rows)[: selection.n_random])
    elif selection.rows is None:
        rows = rows[:n_default]
    if len(rows) > selection.at_most:
        raise ConfigError(
            f"{len(rows)} examples do not fit on one sheet, {selection.at_most} do",
            next_command=f"--index A:B with a shorter range, or --random {selection.at_most}",
        )
    return Selected(tuple(int(row) for row in rows), n_found)


def first_filled(splits: Mapping[str, Split], name: str | None) -> Split:
    """The named split, else the first that has rows.

    Raises:
        ConfigError: it has none.
    """
    filled = [split for split in splits.values() if len(split)]
    if name is None and filled:
        return filled[0]
    if name is not None and len(splits[name]):
        return splits[name]
    has = ", ".join(f"{split.name} ({len(split)})" for split in filled) or "none at all"
    raise ConfigError(
        f"split {name} has no examples" if name else "the store has no examples",
        cause=f"splits with examples: {has}",
    )


def _rows_by_index(split: Split, rows: slice | None) -> npt.NDArray[np.int64]:
    everything = np.arange(len(split), dtype=np.int64)
    if rows is None:
        return everything
    found = everything[rows]
    if not len(found):
        raise ConfigError(
            f"split {split.name} has no such rows",
            cause=f"its rows are 0 to {len(split) - 1}, a range A:B does not include B",
        )
    return found


def _all_hold(
    split: Split,
    rows: npt.NDArray[np.int64],
    conditions: Sequence[Condition],
    attributes: Mapping[str, Any],
) -> npt.NDArray[np.bool_]:
    codes = {name: float(code) for code, name in attributes["status_names"].items()}
    holds = np.ones(len(rows), dtype=bool)
    if not any(condition.quantity == "status" for condition in conditions):
        holds &= np.isin(rows, split.usable_rows)
    for condition in conditions:
        quantity = QUANTITIES[condition.quantity]
        for column in quantity.columns:
            if column not in split.columns or _is_foreign(condition.quantity, attributes):
                raise ConfigError(
                    f"the examples of {attributes['dataset']} have no {condition.quantity}",
                    cause=f"it is a dataset of kind {attributes['kind']}",
                )
        value = condition.value
        if isinstance(value, str):
            if value not in codes:
                raise ConfigError(
                    f"there is no status `{value}`", cause=f"known: {', '.join(codes)}"
                )
            value = codes[value]
        compare = _COMPARISONS[condition.comparison]
        for start in range(0, len(rows), _ROWS_AT_A_TIME):
            part = slice(start, start + _ROWS_AT_A_TIME)
            numbers = np.asarray(quantity.compute(split.gather(rows[part], quantity.columns)))
            holds[part] &= compare(numbers, value) & ~np.isnan(numbers.astype(np.float64))
    return holds


def _is_foreign(quantity: str, attributes: Mapping[str, Any]) -> bool:
    is_2d = Kind(attributes["kind"]) in (Kind.KP2D, Kind.DENSE)
    return is_2d and quantity in ("depth_m", "points_behind")
