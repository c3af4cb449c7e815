"""The rows that are shown are those that were asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache.reader import Store
from errors import ConfigError
from pipeline.schema import Kind
from stages.view.selection import (
    Selected,
    Selection,
    first_filled,
    parse_condition,
    parse_index,
    select_rows,
)
from tests.stages.view.people import N_TRAIN, ROW_DISTORTED, ROW_PARTIAL, make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store.open(make_store(tmp_path_factory.mktemp("people")))


def select(store: Store, split: str = "train", **wishes: object) -> Selected:
    selection = Selection(**wishes)  # type: ignore[arg-type]
    return select_rows(store.splits[split], selection, attributes=store.attributes, n_default=2)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("7", [7]),
        ("-1", [9]),
        ("0:3", [0, 1, 2]),
        (":2", [0, 1]),
        ("-2:", [8, 9]),
        ("8:99", [8, 9]),
    ],
)
def test_indices_and_ranges(text: str, rows: list[int]) -> None:
    assert list(range(10))[parse_index(text)] == rows


@pytest.mark.parametrize("text", ["", "x", "1:2:3", "1,2", "1.5", "1 2", "__import__('os')"])
def test_what_is_no_index_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither a row"):
        parse_index(text)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("valid_points", "not a comparison"),
        ("valid_points<", "not a comparison"),
        ("valid_points<<3", "not a number"),
        ("valid_points<ten", "not a number"),
        ("status<missing_image", "not a number"),
        ("valid_point<10", "did you mean `valid_points`"),
        ("zzz<10", "known: valid_points"),
        ("__class__<1", "no quantity"),
        ("depth_m>1 or 1", "not a comparison"),
    ],
)
def test_what_is_no_condition_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_condition(text)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("valid_points<6", (ROW_PARTIAL,)),
        (" valid_points >= 6 ", (0, ROW_DISTORTED)),
        ("points_behind>0", (ROW_PARTIAL,)),
        ("distortion!=0", (ROW_DISTORTED,)),
        ("depth_m=4", (0, 1, ROW_DISTORTED)),
        ("status>0", (3, 4, 5)),
        ("status==missing_image", (3,)),
    ],
)
def test_conditions_choose_rows(store: Store, text: str, rows: tuple[int, ...]) -> None:
    chosen = select(store, conditions=(parse_condition(text),), rows=slice(None))
    assert chosen == Selected(rows, len(rows))


def test_all_conditions_must_hold(store: Store) -> None:
    conditions = (parse_condition("valid_points>5"), parse_condition("distortion=0"))
    assert select(store, conditions=conditions).rows == (0,)


def test_a_few_are_shown_where_nothing_says_which(store: Store) -> None:
    assert select(store) == Selected((0, 1), N_TRAIN)


def test_chance_is_repeatable_and_covers_everything(store: Store) -> None:
    draws = {select(store, n_random=2, seed=seed).rows for seed in range(30)}
    assert select(store, n_random=2, seed=3) == select(store, n_random=2, seed=3)
    assert {row for draw in draws for row in draw} == set(range(N_TRAIN))
    assert select(store, n_random=99).rows == tuple(range(N_TRAIN))


@pytest.mark.parametrize(
    ("wishes", "complaint"),
    [
        ({"rows": slice(50, 51)}, "rows are 0 to 5"),
        ({"rows": slice(0, 4), "at_most": 3}, "do not fit"),
        ({"conditions": (parse_condition("valid_points>99"),)}, "no example of split train"),
        ({"conditions": (parse_condition("valid_joints>1"),)}, "have no valid_joints"),
        ({"conditions": (parse_condition("status=nonsense"),)}, "no status `nonsense`"),
    ],
)
def test_what_cannot_be_shown_is_said(
    store: Store, wishes: dict[str, object], complaint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        select(store, **wishes)
    assert complaint in str(caught.value)


def test_2d_datasets_have_no_depth(tmp_path: Path) -> None:
    store = Store.open(make_store(tmp_path, kind=Kind.KP2D))
    with pytest.raises(ConfigError, match="no depth_m"):
        select(store, conditions=(parse_condition("depth_m>1"),))
    assert select(store, conditions=(parse_condition("valid_points<6"),)).rows == (ROW_PARTIAL,)


def test_the_first_split_with_examples_is_the_default(store: Store) -> None:
    assert first_filled(store.splits, None).name == "train"
    assert first_filled(store.splits, "valid").name == "valid"
    with pytest.raises(ConfigError, match="split test has no examples"):
        first_filled(store.splits, "test")
