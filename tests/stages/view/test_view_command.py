"""`cli.py view` draws what was asked for into a file, or says what to type instead."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from cli import cli
from pipeline.schema import Kind
from stages.view import palette
from tests.stages.view.people import ROW_BROKEN, ROW_MISSING, make_store

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("people"))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    return lambda *arguments: CliRunner().invoke(cli, ["view", *map(str, arguments)])


def count(path: Path, colour: palette.Colour) -> int:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    difference = np.abs(picture[..., ::-1].astype(int) - np.array(colour))
    return int((difference.max(axis=2) < 12).sum())


@pytest.mark.parametrize("kind", [Kind.KP3D, Kind.KP2D, Kind.DENSE])
def test_a_sheet_is_saved_for_every_kind_of_dataset(kind: Kind, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "sheet.png"
    result = run(make_store(tmp_path, kind=kind), "--index", "0:6", "--save", out)
    assert (result.exit_code, result.output) == (0, f"saved {out}\n")
    for colour in (palette.LEFT, palette.RIGHT, palette.BOX, palette.WARNING):
        assert count(out, colour) > 50


def test_rejected_examples_are_shown_with_their_reason(
    store: Path, tmp_path: Path, run: Run
) -> None:
    usable, rejected = tmp_path / "usable.png", tmp_path / "rejected.png"
    assert run(store, "--index", "0", "--save", usable).exit_code == 0
    assert run(store, "--where", "status!=0", "--save", rejected).exit_code == 0
    assert count(usable, palette.WARNING) == 0
    assert count(rejected, palette.WARNING) > 1000
    assert ROW_MISSING != ROW_BROKEN


def test_annotations_alone_are_shown_without_pictures(tmp_path: Path, run: Run) -> None:
    out = tmp_path / "sheet.png"
    store = make_store(tmp_path, with_images=False)
    assert run(store, "--index", "0", "--save", out).exit_code == 0
    assert count(out, palette.LEFT) > 50


def test_paths_full_of_dollars_and_other_scripts_are_drawn(tmp_path: Path, run: Run) -> None:
    from cache.reader import Store
    from stages.view.examples import skeleton_of
    from stages.view.run import save
    from stages.view.sheet import make_sheet
    from tests.stages.view.people import viewed

    attributes = Store.open(make_store(tmp_path)).attributes
    example = viewed(source="a$\\frac{b$/\u4eba\n\x1b[31m.jpg")
    save(make_sheet([example], skeleton_of(attributes), title="$x_"), tmp_path / "sheet.png")


def test_the_same_view_is_the_same_picture(store: Path, tmp_path: Path, run: Run) -> None:
    files = [tmp_path / name for name in ("a.png", "b.png")]
    for file in files:
        assert run(store, "--random", "2", "--seed", "5", "--save", file).exit_code == 0
    assert files[0].read_bytes() == files[1].read_bytes()


def test_without_a_display_it_says_what_to_type(store: Path, run: Run) -> None:
    result = run(store)
    assert result.exit_code == 1
    assert "there is no display" in result.output
    assert f"cli.py view {store} ... --save people.png" in result.output


@pytest.mark.parametrize(
    ("arguments", "exit_code", "complaint"),
    [
        (["--index", "x"], 2, "neither a row such as 7"),
        (["--where", "height>3"], 2, "no quantity `height`"),
        (["--where", "valid_points"], 2, "not a comparison"),
        (["--split", "training"], 2, "'training' is not one of"),
        (["--random", "0"], 2, "--random"),
        (["--index", "99"], 1, "no such rows"),
        (["--split", "test"], 1, "split test has no examples"),
        (["--where", "valid_points>99"], 1, "no example of split train has valid_points>99"),
        (["--save", "sheet.bmp"], 1, "cannot save `sheet.bmp`"),
        (["--save", "nowhere/sheet.png"], 1, "there is no folder nowhere"),
    ],
)
def test_what_cannot_be_done_is_said(
    store: Path, run: Run, arguments: list[str], exit_code: int, complaint: str
) -> None:
    if "--save" not in arguments:
        arguments = [*arguments, "--save", str(store.parent / "sheet.png")]
    result = run(store, *arguments)
    assert (result.exit_code, complaint in result.output) == (exit_code, True), result.output


def test_a_missing_store_and_an_unknown_dataset_are_said(tmp_path: Path, run: Run) -> None:
    result = run(tmp_path / "absent.zarr", "--save", tmp_path / "sheet.png")
    assert result.exit_code == 1
    assert "there is no store here" in result.output


def test_a_damaged_shard_is_an_error_that_names_it(tmp_path: Path, run: Run) -> None:
    store = make_store(tmp_path)
    shard = next((store / "train" / "coords3d").rglob("0/0/0"))
    shard.unlink()
    result = run(store, "--index", "0", "--save", tmp_path / "sheet.png")
    assert result.exit_code == 1
    assert "train/coords3d/c/0/0/0" in result.output
